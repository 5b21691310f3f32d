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
  std::string text(dept::StringId id) const;
  std::string program() const;  // without directories
  // Frames of a stack as lines of source, each with all that is inlined; for who keeps them longer than the program's files.
  const dept::Arena& arena() const { return arena_; }

 private:
  struct Loaded {
    uint64_t begin, end, bias;
    std::string path, build_id;
  };
  const Loaded* module_of(uint64_t address);
  void add_frame(dept::Frame frame, bool is_call, Trace* trace);
  Hop hop(const dept::Hop& recorded);
  std::string name_of_object(dept::ObjectId id, bool* is_place);

  const dept::Arena& arena_;
  Symbols& symbols_;
  std::vector<Loaded> modules_;  // newest last
  Names names_ = Names::kAll;    // of what is being told
};

// S of a lock often is no more than the line that took it: its callers are those of a wait in the same function.
void complete(Trace* start, const Trace& wait);
// Different objects of one name get their addresses added.
void tell_apart(Finding* finding);
std::string hexadecimal(const uint8_t* bytes, size_t count);

}  // namespace causeway::findings
