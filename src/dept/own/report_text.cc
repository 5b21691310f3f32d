#include "dept/own/report_text.h"

#include <dlfcn.h>

#include <cstring>

namespace causeway::dept::own {
namespace {

constexpr unsigned kFramesShown = 10;

const char* name_of(Level level) {
  switch (level) {
    case Level::kInfo: return "info";
    case Level::kPossible: return "possible";
    case Level::kLikely: return "likely";
    case Level::kCertain: return "certain";
  }
  return "?";
}

const char* name_of(Misuse misuse) {
  switch (misuse) {
    case Misuse::kNone: return "nothing";
    case Misuse::kUnlockNotHeld: return "unlocked without being held";
    case Misuse::kUnlockByOther: return "unlocked by another thread than its owner";
    case Misuse::kDestroyHeld: return "destroyed while it is held";
    case Misuse::kDestroyWaited: return "destroyed while threads wait on it";
    case Misuse::kInitHeld: return "initialised while it is held";
    case Misuse::kInitInUse: return "initialised while it is in use";
    case Misuse::kRecursiveWait: return "waited with a mutex that is locked more than once";
    case Misuse::kTwoMutexes: return "waited on with two mutexes";
    case Misuse::kErrorIgnored: return "an error of it was ignored";
    case Misuse::kExitHeld: return "held by a thread that ends";
    case Misuse::kSelfJoin: return "a thread joins itself";
    case Misuse::kWrongContext: return "waited for where this may not be waited for";
    case Misuse::kWwContext: return "acquire context used wrongly";
  }
  return "?";
}

const char* name_of(Problem problem) {
  switch (problem) {
    case Problem::kCycle: return "threads can wait for each other";
    case Problem::kRelock: return "a thread locks what it holds";
    case Problem::kOrphan: return "a lock whose owner does not exist in this process";
    case Problem::kMisuse: return "misuse";
    case Problem::kStuck: return "threads wait for each other";
  }
  return "?";
}

void print_frame(Printer& out, Arena& arena, Frame frame) {
  if (frame.is_source()) {
    out.text(arena.text(frame.source()));
    return;
  }
  Dl_info info;
  if (::dladdr(reinterpret_cast<void*>(frame.pc()), &info) == 0 || info.dli_fname == nullptr) {
    out.hex(frame.pc());
    return;
  }
  const char* slash = std::strrchr(info.dli_fname, '/');
  out.text(slash != nullptr ? slash + 1 : info.dli_fname).text("+");
  out.hex(frame.pc() - reinterpret_cast<uintptr_t>(info.dli_fbase));
}

// The place itself on the line; on the next what led there, as `addr2line -e` takes it.
void print_stack(Printer& out, Arena& arena, StackId id) {
  const Arena::Frames stack = arena.frames(id);
  if (stack.depth == 0) {
    out.text(" at a place that is not known\n");
    return;
  }
  print_frame(out.text(" at "), arena, stack.frame[0]);
  out.text("\n");
  if (stack.depth == 1) return;
  out.text("           from");
  for (unsigned i = 1; i < stack.depth && i <= kFramesShown; ++i) print_frame(out.text(" "), arena, stack.frame[i]);
  out.text("\n");
}

void print_object(Printer& out, Arena& arena, ClassId cls, ObjectId object, Event event) {
  StringId name = arena.at<Class>(cls).name;
  if (name == StringId::kNone) name = arena.at<Object>(object).name;
  if (name != StringId::kNone) {
    out.text("'").text(arena.text(name)).text("'");
  } else {
    const Arena::Frames birth = arena.frames(arena.at<Object>(object).birth);
    out.text("one made at ");
    if (birth.depth != 0) print_frame(out, arena, birth.frame[0]);
  }
  if (event == Event::kRead) out.text(" (read)");
  if (object != ObjectId::kNone) out.text(" ").hex(arena.at<Object>(object).address);
}

void print_hop(Printer& out, Arena& arena, unsigned number, const Hop& hop) {
  const Edge& edge = arena.at<Edge>(hop.edge);
  const Witness& witness = arena.at<Witness>(hop.witness);
  const Thread& thread = arena.at<Thread>(witness.thread);
  out.text("  ").number(number).text(". thread ").number(static_cast<uint64_t>(thread.tid)).text(" ");
  out.text({thread.name, ::strnlen(thread.name, sizeof thread.name)});
  const bool owned = (witness.flags & Witness::kOwned) != 0;
  print_object(out.text(owned ? "\n     holds " : "\n     was asked for "), arena, edge.from, witness.from_object, witness.from_event);
  print_stack(out, arena, witness.start);
  print_object(out.text(owned ? "     waits for " : "     then waited for "), arena, edge.to, witness.to_object, witness.to_event);
  print_stack(out, arena, witness.wait);
  if (!owned) print_stack(out.text("     and only then made it happen"), arena, witness.event);
}

struct Reason {
  uint32_t bit;
  const char* text;
};
constexpr Reason kReasons[] = {
    {kOneThread, "one thread alone was seen"},
    {kGate, "a lock that is common to two of them"},
    {kOrdered, "one was over before another could begin"},
    {kOnlyTimed, "a wait has a time limit"},
    {kOtherObjects, "the classes are the same, the objects are not"},
    {kOnlyPredicted, "a wait that could have been, but was not"},
    {kOnlyInferred, "concluded from system calls"},
    {kOnlyTentative, "a lock only if it is used as one"},
    {kOrderNotConsistent, "objects of one class in no order that could be told"},
    {kOthersNotShared, "objects on a stack that no other thread has used"},
};

}  // namespace

void print_report(Printer& out, Arena& arena, ReportId id) {
  const Report& report = arena.at<Report>(id);
  out.text("dept: ").text(name_of(report.level)).text(": ").text(name_of(report.problem));
  out.text(" [").number(index_of(id)).text("]\n");
  for (unsigned i = 0; i < report.hop_count && i < kHops; ++i) print_hop(out, arena, i + 1, report.hops[i]);
  if (report.problem != Problem::kCycle) {
    const Thread& thread = arena.at<Thread>(report.thread);
    out.text("  thread ").number(static_cast<uint64_t>(thread.tid)).text(" ");
    out.text({thread.name, ::strnlen(thread.name, sizeof thread.name)}).text(": ");
    print_object(out, arena, ClassId::kNone, report.object, Event::kWrite);
    if (report.problem == Problem::kMisuse) out.text(": ").text(name_of(report.misuse));
    print_stack(out, arena, report.stack);
    if (report.other_stack != StackId::kNone) print_stack(out.text("  before"), arena, report.other_stack);
  }
  for (const Reason& reason : kReasons)
    if ((report.refutations & reason.bit) != 0) out.text("  not more than that: ").text(reason.text).text("\n");
}

}  // namespace causeway::dept::own
