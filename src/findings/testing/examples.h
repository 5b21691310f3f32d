// Findings made by hand, for tests of what is done with findings.
#pragma once

#include "findings/finding.h"
#include "findings/words.h"

namespace causeway::findings::examples {

inline CodeLine at(const char* function, const char* file, unsigned line) {
  CodeLine code;
  code.function = function;
  code.file = file;
  code.line = line;
  code.module = "/usr/bin/prog";
  code.offset = 0x1000 + line;
  code.build_id = "ab12";
  code.folded = std::string_view(function).starts_with("std::");
  return code;
}

inline Thing thing(dept::Kind kind, const char* name, uint32_t object) {
  Thing made;
  made.kind = kind;
  made.name = made.class_name = name;
  made.object = object;
  made.address = 0x5000 + object * 0x40;
  return made;
}
inline Thing mutex(const char* name, uint32_t object) { return thing(dept::Kind::kMutex, name, object); }

inline Hop hop(uint32_t thread, const char* name, Thing owed, Thing wanted, unsigned line) {
  Hop made;
  made.thread = {.id = thread, .name = name, .tid = static_cast<int>(4000 + thread), .starts_in = name, .run = 0};
  made.owed = std::move(owed);
  made.wanted = std::move(wanted);
  made.start = {at("std::mutex::lock", "/usr/include/c++/12/mutex", 100), at("take", "src/a.cc", line), at("main", "src/a.cc", 90)};
  made.wait = {at("std::mutex::lock", "/usr/include/c++/12/mutex", 100), at("then_take", "src/a.cc", line + 2), at("main", "src/a.cc", 91)};
  made.count = 3;
  return made;
}

inline Finding finished(Finding finding, uint32_t refutations = 0) {
  finding.program = "prog";
  finding.pid = 4000;
  finding.kind = kind_of(finding);
  finding.title = title_of(finding);
  finding.narrative = narrative_of(finding);
  finding.refutations = refutations_in_words(refutations, finding);
  finding.suggestions = suggestions_for(finding);
  return finding;
}

inline Finding two_locks() {
  Finding finding;
  finding.id = "00000000000000aa";
  finding.level = Level::kLikely;
  finding.hops = {hop(2, "reader", mutex("cache.mu", 1), mutex("log.mu", 2), 40), hop(3, "writer", mutex("log.mu", 2), mutex("cache.mu", 1), 60)};
  return finished(finding);
}

// A lock held during a wait for a condition; who signals needs that lock.
inline Finding lock_and_condition() {
  Finding finding;
  finding.id = "00000000000000bb";
  finding.level = Level::kPossible;
  const Thing ready = thing(dept::Kind::kCondVar, "q.ready", 5);
  Hop waiter = hop(2, "consumer", mutex("cache.mu", 1), ready, 40);
  Hop signaller = hop(3, "producer", ready, mutex("cache.mu", 1), 60);
  signaller.holds = false;
  signaller.predicted = true;
  signaller.start = {at("pop", "src/q.cc", 88)};
  signaller.event = {at("push", "src/q.cc", 84)};
  waiter.same_object = false;
  finding.hops = {waiter, signaller};
  return finished(finding, dept::kOnlyPredicted | dept::kOtherObjects);
}

inline Finding gated() {
  Finding finding = two_locks();
  finding.id = "00000000000000cc";
  finding.level = Level::kInfo;
  for (Hop& hop : finding.hops) hop.guards = {mutex("big.lock", 9)};
  return finished(finding, dept::kGate);
}

inline Finding relock() {
  Finding finding;
  finding.id = "00000000000000dd";
  finding.level = Level::kCertain;
  finding.problem = dept::Problem::kRelock;
  finding.thread = {.id = 1, .name = "prog", .tid = 4000, .starts_in = "", .run = 0};
  finding.object = mutex("a.cc:12", 1);
  finding.object.name_is_place = true;
  finding.stack = {at("std::mutex::lock", "/usr/include/c++/12/mutex", 100), at("callback", "src/a.cc", 30)};
  finding.stack_is = "taken again";
  finding.other_stack = {at("run", "src/a.cc", 12)};
  finding.other_stack_is = "taken first";
  return finished(finding);
}

inline Finding in_a_handler() {
  Finding finding;
  finding.id = "00000000000000ee";
  finding.level = Level::kLikely;
  finding.hops = {hop(1, "prog", mutex("log.mu", 2), mutex("log.mu", 2), 20)};
  finding.hops[0].interrupted_by = "the handler of signal 10 (SIGUSR1)";
  return finished(finding);
}

inline Finding philosophers() {
  Finding finding;
  finding.id = "00000000000000ff";
  finding.level = Level::kLikely;
  static constexpr const char* kForks[] = {"forks[0]", "forks[1]", "forks[2]", "forks[3]", "forks[4]"};
  for (uint32_t i = 0; i < 5; ++i)
    finding.hops.push_back(hop(i + 2, "dine", mutex(kForks[i], i + 1), mutex(kForks[(i + 1) % 5], (i + 1) % 5 + 1), 20));
  return finished(finding);
}

}  // namespace causeway::findings::examples
