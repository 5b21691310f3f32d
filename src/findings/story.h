// Tells what a tracker has recorded: its ids become names, its addresses lines of source.
//
//   Story story(arena, symbols);
//   Finding finding = story.tell(arena.at<dept::Report>(id));
//
// The arena may be one that is written while it is read, or a damaged file: every id is checked, every list is followed only as
// far as its table is long, and all text is made printable.
#pragma once

#include <string>
#include <vector>

#include "dept/arena.h"
#include "findings/finding.h"
#include "findings/symbols.h"

namespace causeway::findings {

class Story {
 public:
  Story(const dept::Arena& arena, Symbols& symbols) : arena_(arena), symbols_(symbols) {}

  // kModules: functions, lines and variables have no names, only the files they lie in; nothing of those files is read.
  enum class Names : uint8_t { kAll, kModules };
  Finding tell(const dept::Report& report, Names names = Names::kAll);

  // The parts.
  Trace trace(dept::StackId stack);
  Trace trace_of(uint64_t pc);
  Thing thing(dept::ObjectId object, dept::ClassId cls, dept::Event event);
  Actor actor(dept::ThreadId thread);
  std::string program() const;  // without directories
  const dept::Arena& arena() const { return arena_; }

 private:
  void add_frame(dept::Frame frame, bool is_call, Trace* trace);
  Hop hop(const dept::Hop& recorded);
  std::string name_of_object(dept::ObjectId id, bool* is_place);

  const dept::Arena& arena_;
  Symbols& symbols_;
  Names names_ = Names::kAll;    // of what is being told
};

// S of a lock often is no more than the line that took it: its callers are those of a wait in the same function.
void complete(Trace* start, const Trace& wait);
// Different objects of one name get their addresses added.
void tell_apart(Finding* finding);

}  // namespace causeway::findings
