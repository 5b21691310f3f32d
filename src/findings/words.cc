#include "findings/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace causeway::findings {
namespace {

using dept::Kind;
using dept::Misuse;
using dept::Problem;

// "a, b and c".
std::string listed(const std::vector<std::string>& items) {
  std::string text;
  for (size_t i = 0; i < items.size(); ++i)
    text += (i == 0 ? "" : i + 1 == items.size() ? " and " : ", ") + items[i];
  return text;
}

bool all_hold(const Finding& finding) {
  return std::all_of(finding.hops.begin(), finding.hops.end(), [](const Hop& hop) { return hop.holds; });
}

std::string short_name(const Actor& actor) { return actor.id == 0 ? "a thread" : fmt::format("T{}", actor.id); }

// "signals", "posts": third person and infinitive of what makes the event happen.
struct Verb {
  const char* infinitive;
  const char* third;
};
Verb verb_of(Kind kind) {
  switch (kind) {
    case Kind::kCondVar: return {"signal", "signals"};
    case Kind::kSemaphore: return {"post", "posts"};
    case Kind::kBarrier: return {"arrive at", "arrives at"};
    case Kind::kThread: return {"reach", "reaches"};
    case Kind::kOnce: case Kind::kStaticInit: case Kind::kWork: return {"finish", "finishes"};
    case Kind::kFutex: case Kind::kWaitQueue: return {"wake", "wakes"};
    case Kind::kFile: return {"write to", "writes to"};
    case Kind::kCompletion: case Kind::kMap: return {"complete", "completes"};
    case Kind::kExit: return {"reach", "reaches"};
    case Kind::kMutex: case Kind::kSpinLock: case Kind::kRwLock: case Kind::kLoader: return {"unlock", "unlocks"};
    case Kind::kUnknown: break;
  }
  return {"end the wait for", "ends the wait for"};
}

std::string rwlock_mode(const Thing& thing) {
  if (thing.kind != Kind::kRwLock) return "";
  return thing.event == dept::Event::kRead ? " for reading" : " for writing";
}

std::string object_in_words(const Thing& thing) {
  Thing whole = thing;
  whole.event = dept::Event::kWrite;
  return in_words(whole);
}

std::string cycle_title(const Finding& finding) {
  const std::vector<Hop>& hops = finding.hops;
  if (hops.empty()) return "waits close a circle";
  std::vector<std::string> names;
  for (const Hop& hop : hops) names.push_back(object_in_words(hop.owed));
  const std::set<std::string> different(names.begin(), names.end());
  if (finding.kind == "signal") {
    for (const Hop& hop : hops)
      if (!hop.interrupted_by.empty())
        return fmt::format("{} needs {}, and can come while {} is held", hop.interrupted_by, object_in_words(hop.wanted),
                           object_in_words(hop.owed));
  }
  if (hops.size() == 1) return fmt::format("{} is waited for by the thread that has to release it", names[0]);
  if (all_hold(finding)) {
    if (different.size() == 1) return fmt::format("{} objects known as {} are taken in every order", hops.size(), names[0]);
    if (hops.size() == 2) return fmt::format("{} are taken in both orders", listed(names));
    return fmt::format("{} are taken in orders that close a circle", listed(names));
  }
  if (hops.size() == 2 && hops[0].holds)
    return fmt::format("{} is held while waiting for {}, and who {} it needs {} first", names[0], object_in_words(hops[0].wanted),
                       verb_of(hops[0].wanted.kind).third, object_in_words(hops[1].wanted));
  return fmt::format("{} wait for each other in a circle", listed(names));
}

std::string cycle_narrative(const Finding& finding) {
  const std::vector<Hop>& hops = finding.hops;
  std::string text;
  for (size_t i = 0; i < hops.size(); ++i) {
    const Hop& hop = hops[i];
    const std::string wanted = object_in_words(hop.wanted) + rwlock_mode(hop.wanted);
    const std::string waits = hop.spins ? "tries again and again at" : "waits at";
    const std::string who = in_words(hop.thread);
    const std::string of_class = i == 0 || hops[i - 1].same_object ? "" : " (one of that class)";
    if (!hop.interrupted_by.empty()) {
      text += fmt::format("{}{} holds {}{}; {} can interrupt it there, and {} {} for {}", i == 0 ? "" : ", which ", who,
                          i == 0 ? object_in_words(hop.owed) : std::string("it"), of_class, hop.interrupted_by, waits, place(hop.wait), wanted);
    } else if (hop.holds) {
      const std::string taken = hop.start.empty() ? "" : fmt::format(", taken{} at {},", rwlock_mode(hop.owed), place(hop.start));
      if (i == 0)
        text += fmt::format("Thread {} holds {}{} and {} {} for {}", who, object_in_words(hop.owed), taken, waits, place(hop.wait), wanted);
      else
        text += fmt::format(", which thread {} holds{}{} while it {} {} for {}", who, of_class, taken, waits, place(hop.wait), wanted);
    } else {
      const std::string where = hop.event.empty() ? "" : fmt::format(" at {}", place(hop.event));
      if (i == 0)
        text += fmt::format("Thread {} {}{} only after it has waited at {} for {}", who, done(hop.owed), where, place(hop.wait), wanted);
      else
        text += fmt::format(", which thread {} {}{}{} only after it has waited at {} for {}", who, verb_of(hop.owed.kind).third, where,
                            of_class, place(hop.wait), wanted);
    }
  }
  if (hops.empty()) return text;
  if (hops.size() == 1) return text + ".";
  const Hop& first = hops.front();
  text += fmt::format(", which {} {}{}. ", short_name(first.thread),
                      first.holds ? std::string("holds") : std::string(verb_of(first.owed.kind).third),
                      hops.back().same_object ? "" : " (one of that class)");
  if (finding.problem == Problem::kStuck) return text + "None of them can go on.";
  if (finding.level == Level::kInfo) return text.substr(0, text.size() - 1);
  return text + (hops.size() == 2 ? "If both get there at the same time, neither goes on."
                                  : fmt::format("If all {} get there at the same time, none goes on.", hops.size()));
}

}  // namespace

bool is_lock(Kind kind) {
  return kind == Kind::kMutex || kind == Kind::kSpinLock || kind == Kind::kRwLock || kind == Kind::kLoader;
}

std::string promise(const Thing& thing) { return fmt::format("{} {}", verb_of(thing.kind).infinitive, object_in_words(thing)); }
std::string done(const Thing& thing) { return fmt::format("{} {}", verb_of(thing.kind).third, object_in_words(thing)); }

std::string how_taken(const Thing& thing) {
  switch (thing.kind) {
    case Kind::kOnce: case Kind::kStaticInit: case Kind::kWork: return fmt::format("begins {}", object_in_words(thing));
    case Kind::kThread: return fmt::format("begins, up to the {}", object_in_words(thing));
    default: return fmt::format("takes {}{}", object_in_words(thing), rwlock_mode(thing));
  }
}

const char* word_of(Misuse misuse) {
  switch (misuse) {
    case Misuse::kNone: break;
    case Misuse::kUnlockNotHeld: return "is unlocked, and nobody holds it";
    case Misuse::kUnlockByOther: return "is unlocked by a thread that does not hold it";
    case Misuse::kDestroyHeld: return "is destroyed while it is held";
    case Misuse::kDestroyWaited: return "is destroyed while threads wait for it";
    case Misuse::kInitHeld: return "is initialised while it is held";
    case Misuse::kInitInUse: return "is initialised while it is in use";
    case Misuse::kRecursiveWait: return "is held more than once during a wait that releases it once";
    case Misuse::kTwoMutexes: return "is waited for with two different mutexes";
    case Misuse::kErrorIgnored: return "could not be taken, and the error is ignored";
    case Misuse::kExitHeld: return "is held by a thread that ends";
    case Misuse::kSelfJoin: return "is waited for by the thread itself";
    case Misuse::kWrongContext: return "is used in a context where it may not be";
    case Misuse::kWwContext: return "is used against the rules of its acquire context";
  }
  return "is misused";
}

std::string human_size(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} bytes", bytes);
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  double size = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; size >= 1024 && unit + 1 < std::size(kUnits); ++unit) size /= 1024;
  return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

std::string kind_of(const Finding& finding) {
  switch (finding.problem) {
    case Problem::kCycle: break;
    case Problem::kRelock: return "self";
    case Problem::kOrphan: return "fork";
    case Problem::kStuck: return "stuck";
    case Problem::kMisuse:
      return finding.misuse == Misuse::kSelfJoin ? "self" : finding.misuse == Misuse::kExitHeld ? "shutdown" : "misuse";
  }
  size_t locks = 0;
  for (const Hop& hop : finding.hops) {
    if (!hop.interrupted_by.empty()) return "signal";
    if (hop.owed.kind == Kind::kExit || hop.wanted.kind == Kind::kExit) return "shutdown";
    if (is_lock(hop.owed.kind) || (hop.holds && !hop.predicted && hop.owed.kind != Kind::kThread)) ++locks;
  }
  if (finding.hops.size() == 1 && finding.hops[0].owed.object == finding.hops[0].wanted.object && finding.hops[0].owed.object != 0)
    return "self";
  return locks == finding.hops.size() ? "lock" : locks == 0 ? "comm" : "mixed";
}

std::string title_of(const Finding& finding) {
  const std::string object = object_in_words(finding.object);
  switch (finding.problem) {
    case Problem::kCycle: return cycle_title(finding);
    case Problem::kRelock: return fmt::format("{} is taken again by the thread that holds it", object);
    case Problem::kOrphan: return fmt::format("{} is held by a thread that does not exist in this process", object);
    case Problem::kMisuse: return fmt::format("{} {}", object, word_of(finding.misuse));
    case Problem::kStuck:
      if (finding.hops.size() == 1 && finding.object.kind == Kind::kUnknown)
        return fmt::format("thread {} waits for {}, and nobody is left to end that", in_words(finding.hops[0].thread),
                           object_in_words(finding.hops[0].wanted));
      return fmt::format("{} thread{} wait{} and will not wake", finding.hops.size(), finding.hops.size() == 1 ? "" : "s",
                         finding.hops.size() == 1 ? "s" : "");
  }
  return "an unknown problem";
}

std::string narrative_of(const Finding& finding) {
  const std::string who = finding.thread.id == 0 ? "A thread" : "Thread " + in_words(finding.thread);
  const std::string object = object_in_words(finding.object);
  const std::string here = finding.stack.empty() ? "" : fmt::format(" at {}", place(finding.stack));
  const std::string before = finding.other_stack.empty() ? "" : fmt::format(" at {}", place(finding.other_stack));
  switch (finding.problem) {
    case Problem::kCycle:
    case Problem::kStuck: return cycle_narrative(finding);
    case Problem::kRelock:
      return fmt::format("{} took {}{} and takes it again{}. It waits for itself and will not go on.", who, object, before, here);
    case Problem::kOrphan:
      return fmt::format("{} waits{} for {}, which another thread held{} when the process was forked. That thread was not copied, so "
                         "nobody will release it.", who, here, object, before);
    case Problem::kMisuse:
      return fmt::format("{} is the one who did it{}{}.", who, here,
                         before.empty() ? "" : fmt::format("; it was taken{}", before));
  }
  return "";
}

std::vector<std::string> refutations_in_words(uint32_t refutations, const Finding& finding) {
  std::vector<std::string> words;
  auto say = [&](uint32_t bit, std::string text) {
    if ((refutations & bit) != 0) words.push_back(std::move(text));
  };
  std::string gate;
  for (const Hop& hop : finding.hops)
    for (const Thing& guard : hop.guards) {
      size_t shared = 0;
      for (const Hop& other : finding.hops)
        shared += std::any_of(other.guards.begin(), other.guards.end(),
                              [&](const Thing& thing) { return thing.object == guard.object; });
      if (shared > 1 && gate.empty()) gate = in_words(guard);
    }
  say(dept::kOneThread, "the same thread was seen at several of the places, and it cannot be at two of them at once");
  say(dept::kGate, fmt::format("{} is held at several of the places, so that only one of them can be reached at a time",
                               gate.empty() ? "another lock" : gate));
  say(dept::kOrdered, "one of the places was over before another could be reached, because of a create, join, wake-up or barrier between");
  say(dept::kOnlyTimed, "a wait has a time limit: it delays, and then goes on");
  say(dept::kOtherObjects, "the threads used different objects that follow the same rules; whether they can meet in one was not seen");
  say(dept::kOnlyPredicted, "nobody was seen to wait for one of the events; somebody could have");
  say(dept::kOnlyInferred, "a lock or event was concluded from system calls alone");
  say(dept::kOnlyTentative, "whether it is used as a lock, given back by who took it, is not known");
  say(dept::kOthersNotShared, "one of those objects is on the stack of a thread, and no other thread has ever used it");
  say(dept::kOrderNotConsistent, "objects of one class are taken in no order that could be told, but not the same two in both orders");
  return words;
}

std::vector<std::string> suggestions_for(const Finding& finding) {
  switch (finding.problem) {
    case Problem::kRelock: return {"release it before, pass on that it is held, or make it recursive"};
    case Problem::kOrphan: return {"in a forked child of a program with threads, use nothing but exec and async-signal-safe functions; "
                                   "or release the lock in a pthread_atfork handler"};
    case Problem::kStuck: return {};
    case Problem::kMisuse: return {};
    case Problem::kCycle: break;
  }
  if (finding.hops.empty() || finding.level == Level::kInfo) return {};
  if (finding.kind == "signal")
    return {"block the signal while the lock is held, or do no more in the handler than set a flag or write to a pipe"};
  for (const Hop& hop : finding.hops)
    if (!hop.holds) {
      for (const Hop& holder : finding.hops)
        if (holder.holds)
          return {fmt::format("release {} before waiting for {} at {}", object_in_words(holder.owed), object_in_words(holder.wanted),
                              place(holder.wait)),
                  fmt::format("or {} before waiting for {} at {}", promise(hop.owed), object_in_words(hop.wanted), place(hop.wait))};
      return {};
    }
  if (finding.hops.size() == 1) return {"release it before, or do not wait for what only this thread can bring about"};
  std::vector<std::string> names;
  for (const Hop& hop : finding.hops) names.push_back(object_in_words(hop.owed));
  if (std::set<std::string>(names.begin(), names.end()).size() == 1)
    return {"take objects of this kind in one order everywhere, by address for instance, or all at once with std::scoped_lock"};
  return {fmt::format("take {} in one order everywhere, or all at once with std::scoped_lock; or release one before waiting for the next",
                      listed(names))};
}

}  // namespace causeway::findings
