// A report of a tracker (dept/records.h) as a person thinks of it: names, lines of source, sentences. Plain structs without
// any reference to the arena they were told from, so that they can be kept, filtered, compared and printed in any form.
//
//   Finding finding = story.tell(report);          // findings/story.h
//   fmt::print("{}", render_text(finding, {}));    // findings/render.h
//
// All texts are printable: what came from a stranger's memory has been escaped.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dept/records.h"

namespace causeway::findings {

using dept::Level;

// One line of a stack. An inlined call is a line of its own.
struct CodeLine {
  std::string function;   // demangled, without parameters; "": unknown
  std::string file;       // as the debug information has it; "": unknown
  unsigned line = 0;
  std::string module;     // path
  std::string build_id;   // hexadecimal
  uint64_t offset = 0;    // in the module, of the instruction
  bool inlined = false;   // into the next line
  bool folded = false;    // a wrapper around the primitive, shown only with full stacks

  friend bool operator==(const CodeLine&, const CodeLine&) = default;
};
using Trace = std::vector<CodeLine>;  // innermost first

struct Actor {
  uint32_t id = 0;        // its place among the program's threads, from 1
  std::string name;
  int tid = 0;
  std::string starts_in;  // its start function
  unsigned run = 0;       // of a merged recording: which; 0: this one
};

// An object and which of its events: "read lock of rwlock table".
struct Thing {
  dept::Kind kind = dept::Kind::kUnknown;
  std::string name;       // "cache.mu", "a.cc:40": see name_is_place
  bool name_is_place = false;  // nobody named it: where it was first used
  uint64_t address = 0;
  uint32_t object = 0;    // ObjectId; 0: known by its class alone
  std::string class_name;
  dept::Event event = dept::Event::kWrite;
};

// One thread of a circle: while it waits for `wanted`, the event of `owed` cannot happen.
struct Hop {
  Actor thread;
  Thing owed;
  Thing wanted;
  bool holds = true;      // a lock: it has `owed` and would release it; else it would make it happen
  bool same_object = true;  // the next hop's `owed` is this very `wanted`, not just another of its class
  bool timed = false, predicted = false, tentative = false, inferred = false, spins = false;
  std::string interrupted_by;  // the wait is of this, which came while `owed` was held
  Trace start, wait, event;
  std::vector<Thing> guards;   // other locks it had then
  uint64_t count = 0;
  uint64_t first_seen_ns = 0, last_seen_ns = 0;  // since the program's start
};

struct Finding {
  std::string id;         // the same in every run
  Level level = Level::kInfo;
  dept::Problem problem = dept::Problem::kCycle;
  dept::Misuse misuse = dept::Misuse::kNone;
  std::string kind;       // lock, comm, mixed, self, fork, signal, shutdown, stuck, misuse
  std::string program;
  int pid = 0;
  bool raised = false;    // it was told before, at a lower level
  std::string title;
  std::string narrative;
  std::vector<Hop> hops;                  // in cycle order
  std::vector<std::string> refutations;   // why the level is not higher
  std::vector<std::string> suggestions;
  // Of one that is no circle.
  Actor thread;
  Thing object;
  Trace stack, other_stack;
  std::string stack_is, other_stack_is;   // what was done there
  std::vector<std::string> behind;        // of a stuck one: who else waits
};

// "certain", "likely", "possible", "info".
const char* name_of(Level level);
// "mutex", "condition variable".
const char* name_of(dept::Kind kind);
// "mutex cache.mu", "read lock of rwlock table", "mutex first used at a.cc:40".
std::string in_words(const Thing& thing);
// "T2 'worker'".
std::string in_words(const Actor& actor);
// "a.cc:40", else "libx.so+0x1234", else "an unknown place"; the first line that is not folded.
std::string place(const Trace& trace);
// The same with its function: "fill() at a.cc:40".
std::string place_in_words(const Trace& trace);
const CodeLine* first_shown(const Trace& trace);
// "certain" etc. back; false: none of them.
bool parse_level(const std::string& text, Level* level);

}  // namespace causeway::findings
