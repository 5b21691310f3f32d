#include "findings/story.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/printable.h"
#include "findings/recorded_text.h"
#include "findings/words.h"

namespace causeway::findings {

using dept::ClassId;
using dept::EdgeId;
using dept::index_of;
using dept::ObjectId;
using dept::StackId;
using dept::ThreadId;
using dept::Witness;

namespace {

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// "src/a.cc:40 function", as Site::at(file, line) is interned.
CodeLine parse_source(const std::string& text) {
  CodeLine line;
  const size_t space = text.find(' ');
  std::string place = text.substr(0, space);
  if (space != std::string::npos) line.function = text.substr(space + 1);
  const size_t colon = place.rfind(':');
  if (colon != std::string::npos && colon + 1 < place.size() && place.find_first_not_of("0123456789", colon + 1) == std::string::npos) {
    line.line = static_cast<unsigned>(std::strtoul(place.c_str() + colon + 1, nullptr, 10));
    place.resize(colon);
  }
  line.file = place;
  line.folded = is_wrapper(line.function);
  return line;
}

// Of a signal, its kind is the number less one.
std::string name_of_interruption(unsigned irq) {
  const char* name = ::sigabbrev_np(static_cast<int>(irq) + 1);
  return name == nullptr ? fmt::format("the handler of interruption {}", irq) : fmt::format("the handler of SIG{}", name);
}

}  // namespace

void complete(Trace* start, const Trace& wait) {
  // One frame, which may be several lines.
  const auto frames = std::count_if(start->begin(), start->end(), [](const CodeLine& line) { return !line.inlined; });
  if (frames != 1 || start->back().function.empty()) return;
  const CodeLine& last = start->back();
  const auto same = std::find_if(wait.begin(), wait.end(), [&](const CodeLine& line) {
    return !line.inlined && line.function == last.function && line.module == last.module;
  });
  if (same != wait.end()) start->insert(start->end(), same + 1, wait.end());
}

void tell_apart(Finding* finding) {
  std::vector<Thing*> things;
  for (Hop& hop : finding->hops) {
    things.push_back(&hop.owed);
    things.push_back(&hop.wanted);
    for (Thing& guard : hop.guards) things.push_back(&guard);
  }
  std::map<std::pair<dept::Kind, std::string>, std::set<uint32_t>> objects;
  for (const Thing* thing : things)
    if (thing->object != 0) objects[{thing->kind, thing->name}].insert(thing->object);
  for (Thing* thing : things)
    if (auto at = objects.find({thing->kind, thing->name}); at != objects.end() && at->second.size() > 1 && thing->object != 0)
      thing->name += fmt::format("{}{:#x}", thing->name.empty() ? "at " : " at ", thing->address);
}

std::string Story::program() const {
  return base_name(path_of_program(arena_));
}

void Story::add_frame(dept::Frame frame, bool is_call, Trace* trace) {
  if (frame.is_source()) {
    trace->push_back(parse_source(text_of(arena_, frame.source())));
    return;
  }
  // A return address may be the next line's, or the next function's.
  const uint64_t pc = frame.pc() - (is_call && frame.pc() > 0 ? 1 : 0);
  const dept::Module* module = arena_.module_at(pc);
  if (module == nullptr) {
    CodeLine line;
    line.function = fmt::format("{:#x}", frame.pc());
    trace->push_back(line);
    return;
  }
  const std::string path = path_of(arena_, *module);
  if (names_ == Names::kModules) {
    CodeLine line;
    line.module = printable(path);
    trace->push_back(line);
    return;
  }
  const Trace& lines = symbols_.code(path, pc - module->bias, build_id_of(*module));
  const bool is_ours = base_name(path).starts_with("libcauseway-dept");
  for (CodeLine line : lines) {
    line.folded = line.folded || is_ours;
    trace->push_back(std::move(line));
  }
}

Trace Story::trace(StackId stack) {
  Trace lines;
  const dept::Arena::Frames frames = arena_.frames(stack);
  for (unsigned i = 0; i < frames.depth; ++i) add_frame(frames.frame[i], true, &lines);
  return lines;
}

Trace Story::trace_of(uint64_t pc) {
  Trace lines;
  if (pc != 0) add_frame(dept::Frame::pc(pc), true, &lines);
  return lines;
}

Actor Story::actor(ThreadId id) {
  Actor actor;
  if (id == ThreadId::kNone) return actor;
  const dept::Thread& thread = arena_.at<dept::Thread>(id);
  actor.id = index_of(id);
  actor.tid = thread.tid;
  actor.name = findings::name_of(thread);
  if (thread.start_routine != 0) {
    Trace lines;
    add_frame(dept::Frame::pc(thread.start_routine), false, &lines);
    if (!lines.empty() && !lines.back().folded) actor.starts_in = lines.back().function;
  }
  const bool is_main = thread.creator == ThreadId::kNone && thread.level == 0;
  const std::string inherited = program().substr(0, sizeof thread.name - 1);
  if (actor.name.empty() || actor.name == inherited) actor.name = is_main ? "main" : actor.starts_in;
  return actor;
}

std::string Story::name_of_object(ObjectId id, bool* is_place) {
  const dept::Object& object = arena_.at<dept::Object>(id);
  if (object.kind == dept::Kind::kThread)
    for (uint32_t i = 1, used = arena_.used<dept::Thread>(); i < used; ++i)
      if (arena_.at<dept::Thread>(ThreadId(i)).object.load(std::memory_order_relaxed) == index_of(id))
        return in_words(actor(ThreadId(i)));
  std::string name = text_of(arena_, object.name);
  if (!name.empty()) return name;
  if (const dept::Module* module = arena_.module_at(object.address); names_ == Names::kAll && module != nullptr && object.address != 0)
    if (auto symbol = symbols_.data(path_of(arena_, *module), object.address - module->bias, build_id_of(*module))) return *symbol;
  const Trace birth = trace(object.birth);
  if (birth.empty()) return "";
  *is_place = true;
  return place(birth);
}

Thing Story::thing(ObjectId id, ClassId class_id, dept::Event event) {
  Thing thing;
  const dept::Class& cls = arena_.at<dept::Class>(class_id);
  const dept::Object& object = arena_.at<dept::Object>(id);
  thing.event = event;
  thing.object = index_of(id);
  thing.class_name = text_of(arena_, cls.name);
  thing.kind = id != ObjectId::kNone && object.kind != dept::Kind::kUnknown ? object.kind : cls.kind;
  if (id != ObjectId::kNone) {
    thing.address = object.address;
    thing.name = name_of_object(id, &thing.name_is_place);
  }
  if (thing.name.empty()) thing.name = thing.class_name;
  if (thing.name.empty() && cls.site != StackId::kNone) {
    thing.name = place(trace(cls.site));
    thing.name_is_place = true;
  }
  return thing;
}

Hop Story::hop(const dept::Hop& recorded) {
  const dept::Edge& edge = arena_.at<dept::Edge>(recorded.edge);
  const Witness& witness = arena_.at<Witness>(recorded.witness);
  const uint32_t flags = witness.flags;
  Hop hop;
  hop.thread = actor(witness.thread);
  hop.thread.run = witness.run;
  hop.owed = thing(witness.from_object, edge.from, witness.from_event);
  hop.wanted = thing(witness.to_object, edge.to, witness.to_event);
  // A thread "holds" its own end in the tracker's sense; nobody would say so.
  hop.holds = (flags & (Witness::kWindow | Witness::kPredicted)) == 0 && hop.owed.kind != dept::Kind::kThread &&
              hop.owed.kind != dept::Kind::kExit;
  hop.timed = (flags & Witness::kTimed) != 0;
  hop.predicted = (flags & Witness::kPredicted) != 0;
  hop.tentative = (flags & Witness::kTentative) != 0;
  hop.inferred = (flags & Witness::kInferred) != 0;
  hop.spins = (flags & Witness::kSpinTry) != 0;
  if ((flags & Witness::kIrq) != 0) hop.interrupted_by = name_of_interruption(witness.irq);
  hop.start = trace(witness.start);
  hop.wait = trace(witness.wait);
  hop.event = trace(witness.event);
  complete(&hop.start, hop.wait);
  complete(&hop.event, hop.wait);
  if (hop.thread.starts_in.empty() && !hop.wait.empty()) {
    // std::thread: the outermost function that is the program's own.
    const auto own = std::find_if(hop.wait.rbegin(), hop.wait.rend(), [](const CodeLine& line) { return !line.folded && !line.function.empty(); });
    if (own != hop.wait.rend() && hop.thread.name != "main") hop.thread.starts_in = own->function;
    if (hop.thread.name.empty()) hop.thread.name = hop.thread.starts_in;
  }
  for (unsigned i = 0; i < std::min<unsigned>(witness.guard_count, dept::kGuards); ++i) {
    const dept::Object& guard = arena_.at<dept::Object>(witness.guards[i]);
    hop.guards.push_back(thing(witness.guards[i], ClassId(guard.classes[0].load(std::memory_order_relaxed)), dept::Event::kWrite));
  }
  hop.count = edge.count.load(std::memory_order_relaxed);
  const uint64_t started = arena_.header().started_ns;
  hop.first_seen_ns = edge.first_seen_ns > started ? edge.first_seen_ns - started : 0;
  hop.last_seen_ns = edge.last_seen_ns > started ? edge.last_seen_ns - started : 0;
  return hop;
}

Finding Story::tell(const dept::Report& report, Names names) {
  names_ = names;
  Finding finding;
  finding.id = fmt::format("{:016x}", report.id);
  finding.level = report.level <= Level::kCertain ? report.level : Level::kInfo;
  finding.problem = report.problem <= dept::Problem::kStuck ? report.problem : dept::Problem::kMisuse;
  finding.misuse = report.misuse;
  finding.pid = arena_.header().pid;
  finding.program = program();
  finding.raised = report.replaces != dept::ReportId::kNone;
  if (finding.problem == dept::Problem::kCycle)
    for (unsigned i = 0; i < std::min<unsigned>(report.hop_count, dept::kHops); ++i) finding.hops.push_back(hop(report.hops[i]));
  // A circle is read from where something is held.
  const auto holder = std::find_if(finding.hops.begin(), finding.hops.end(), [](const Hop& hop) { return hop.holds; });
  if (holder != finding.hops.end()) std::rotate(finding.hops.begin(), holder, finding.hops.end());
  for (size_t i = 0; i < finding.hops.size(); ++i) {
    const Thing& owed = finding.hops[(i + 1) % finding.hops.size()].owed;
    finding.hops[i].same_object = finding.hops[i].wanted.object == owed.object && owed.object != 0;
  }
  tell_apart(&finding);
  if (finding.problem != dept::Problem::kCycle) {
    finding.thread = actor(report.thread);
    const dept::Object& object = arena_.at<dept::Object>(report.object);
    finding.object = thing(report.object, ClassId(object.classes[0].load(std::memory_order_relaxed)), dept::Event::kWrite);
    finding.stack = trace(report.stack);
    finding.other_stack = trace(report.other_stack);
    finding.stack_is = finding.problem == dept::Problem::kRelock ? "taken again" : "where it was done";
    finding.other_stack_is = finding.problem == dept::Problem::kRelock ? "taken first" : "taken";
    complete(&finding.other_stack, finding.stack);
  }
  finding.kind = kind_of(finding);
  finding.title = title_of(finding);
  finding.narrative = narrative_of(finding);
  finding.refutations = refutations_in_words(report.refutations, finding);
  finding.suggestions = suggestions_for(finding);
  names_ = Names::kAll;
  return finding;
}

}  // namespace causeway::findings
