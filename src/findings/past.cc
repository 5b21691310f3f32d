#include "findings/past.h"

#include <fmt/format.h>

#include <algorithm>

#include "findings/recorded_text.h"

namespace causeway::findings {

using dept::Arena;
using dept::ClassId;
using dept::EdgeId;
using dept::index_of;
using dept::ObjectId;
using dept::StackId;
using dept::Table;
using dept::ThreadId;
using dept::Witness;
using dept::WitnessId;

namespace {

constexpr uint64_t kMaxClock = 1023;
constexpr uint32_t kOfOneRun = ~0u;  // any object that other runs do not know

// Takes one recording's ids to those of a past.
class Reading {
 public:
  Reading(const Arena& arena, Past& past) : arena_(arena), past_(past), number_(static_cast<uint32_t>(past.runs.size() + 1)), known_before_(past.shapes) {}

  bool read() {
    threads();
    for (uint32_t i = 1, used = arena_.used<dept::Edge>(); i < used; ++i) edge(arena_.at<dept::Edge>(EdgeId(i)));
    if (run_.facts.empty()) return false;
    past_.runs.push_back(std::move(run_));
    return true;
  }

 private:
  Past::Place place(uint64_t address) {
    const dept::Module* module = arena_.module_at(address);
    if (module == nullptr) return {};
    return {past_.modules.add({text_of(arena_, module->path), build_id_of(*module)}), address - module->bias, ""};
  }
  Past::Place place(dept::Frame frame) {
    if (frame.is_source()) return {0, 0, text_of(arena_, frame.source())};
    Past::Place found = place(frame.pc());
    if (found.module == 0) found.text = fmt::format("{:#x}", frame.pc());
    return found;
  }
  uint32_t stack(StackId id) {
    const auto [at, is_new] = stacks_.try_emplace(index_of(id));
    if (!is_new) return at->second;
    Past::Stack stack;
    const Arena::Frames frames = arena_.frames(id);
    for (unsigned i = 0; i < frames.depth; ++i) stack.push_back(place(frames.frame[i]));
    return at->second = stack.empty() ? 0 : past_.stacks.add(stack);
  }

  void threads() {
    const uint32_t used = arena_.used<dept::Thread>();
    std::map<std::pair<Past::Place, uint32_t>, uint32_t> ordinals;
    roles_.assign(used, 0);
    for (uint32_t i = 1; i < used; ++i) {
      const dept::Thread& thread = arena_.at<dept::Thread>(ThreadId(i));
      const Past::Place start = thread.start_routine == 0 ? Past::Place{} : place(dept::Frame::pc(thread.start_routine));
      const uint32_t created = stack(thread.created);
      const uint32_t role = past_.roles.add({start, created, ordinals[{start, created}]++, thread.level});
      if (past_.thread_names.size() < past_.roles.size())
        past_.thread_names.push_back(findings::name_of(thread));
      roles_[i] = role;
      thread_objects_[thread.object.load(std::memory_order_relaxed)] = role;
      Past::Lived& lived = run_.threads[role];
      lived.creator = index_of(thread.creator) < i ? roles_[index_of(thread.creator)] : 0;
      lived.started_ns = thread.started_ns;
      lived.ended_ns = thread.ended_ns.load(std::memory_order_relaxed);
    }
  }
  uint32_t role(ThreadId id) const { return index_of(id) < roles_.size() ? roles_[index_of(id)] : 0; }

  uint32_t cls(ClassId id) {
    if (id == ClassId::kNone) return 0;
    const dept::Class& c = arena_.at<dept::Class>(id);
    const uint32_t number = past_.class_names.add({c.key, c.sub});
    if (number == past_.classes.size())
      past_.classes.push_back({c.kind, c.flags.load(std::memory_order_relaxed) & ~uint32_t{dept::Class::kTimed}, stack(c.site),
                               text_of(arena_, c.name)});
    return number;
  }

  Past::ObjectName name_of(ObjectId id) {
    const dept::Object& o = arena_.at<dept::Object>(id);
    Past::ObjectName name{.key = o.key, .place = place(o.address), .role = 0, .run = 0, .number = 0};
    if (const auto thread = thread_objects_.find(index_of(id)); thread != thread_objects_.end()) name.role = thread->second;
    if (name.place.module == 0 && name.role == 0) {
      name.run = number_;
      name.number = index_of(id);
    }
    return name;
  }
  uint32_t known_object(ObjectId id) {
    if (const auto at = objects_.find(index_of(id)); at != objects_.end()) return at->second;
    return name_of(id).run != 0 && id != ObjectId::kNone ? kOfOneRun : object(id);
  }

  uint32_t object(ObjectId id) {
    if (id == ObjectId::kNone) return 0;
    const auto [at, is_new] = objects_.try_emplace(index_of(id));
    if (!is_new) return at->second;
    const dept::Object& o = arena_.at<dept::Object>(id);
    const Past::ObjectName name = name_of(id);
    const uint32_t number = past_.object_names.add(name);
    if (number == past_.objects.size()) past_.objects.emplace_back();
    Past::Object& known = past_.objects[number];
    known.kind = o.kind;
    known.sub = o.sub;
    known.class_flags = o.class_flags;
    // A lock in one run is a lock; who wakes others in one run does so.
    known.flags |= o.flags.load(std::memory_order_relaxed) & ~uint32_t{dept::Object::kDead};
    known.value = o.value.load(std::memory_order_relaxed);
    known.address = o.address;
    known.birth = stack(o.birth);
    known.name = text_of(arena_, o.name);
    for (unsigned i = 0; i < dept::kEvents; ++i)
      if (const uint32_t c = cls(ClassId(o.classes[i].load(std::memory_order_relaxed)))) past_.objects[number].classes[i] = c;
    return at->second = number;
  }

  Past::Clock clock(dept::ClockId id) const {
    Past::Clock clock;
    const uint32_t first = index_of(id), end = arena_.capacity(Table::kClock);
    if (first == 0 || first >= end) return clock;
    const auto* words = static_cast<const uint64_t*>(arena_.record(Table::kClock, first));
    const uint64_t count = std::min<uint64_t>({words[0], kMaxClock, end - first - 1});
    for (uint64_t i = 1; i <= count; ++i)
      if (const uint32_t of = role(ThreadId(static_cast<uint32_t>(words[i] >> 32)))) clock.emplace_back(of, static_cast<uint32_t>(words[i]));
    std::sort(clock.begin(), clock.end());
    return clock;
  }

  void edge(const dept::Edge& edge) {
    if ((edge.flags.load(std::memory_order_relaxed) & dept::Edge::kVoid) != 0) return;
    const uint32_t from = cls(edge.from), to = cls(edge.to);
    if (from == 0 || to == 0) return;
    // Newest first; a damaged list may have no end.
    std::vector<const Witness*> witnesses;
    for (WitnessId id{edge.first_witness.load(std::memory_order_acquire)}; id != WitnessId::kNone && witnesses.size() < arena_.used<Witness>();) {
      witnesses.push_back(&arena_.at<Witness>(id));
      id = witnesses.back()->next;
    }
    for (auto at = witnesses.rbegin(); at != witnesses.rend(); ++at) witness(**at, from, to);
  }

  void witness(const Witness& w, uint32_t from, uint32_t to) {
    Past::Fact fact;
    fact.role = role(w.thread);
    if (fact.role == 0) return;
    fact.from = from;
    fact.to = to;
    fact.from_object = known_object(w.from_object);
    fact.to_object = known_object(w.to_object);
    fact.flags = w.flags | Witness::kMerged;
    fact.from_event = w.from_event;
    fact.to_event = w.to_event;
    fact.irq = w.irq;
    fact.epoch = w.epoch;
    fact.time_ns = w.time_ns;
    const unsigned guards = std::min<unsigned>(w.guard_count, dept::kGuards);
    for (unsigned i = 0; i < guards; ++i) fact.guards.push_back(known_object(w.guards[i]));
    fact.clock = clock(w.clock);
    Past::Lived& lived = run_.threads[fact.role];
    if (!lived.has_birth || fact.time_ns < first_time_[fact.role]) {
      lived.has_birth = true;
      lived.birth = fact.clock;
      first_time_[fact.role] = fact.time_ns;
    }
    run_.seen.insert({from, to, past_.group_of(fact.role)});
    // Not of this run alone: of the same one there are several, as long as they could matter.
    const Past::Shape shape = past_.shape_of(fact);
    past_.shapes.insert(shape);
    if (known_before_.contains(shape)) return;
    fact.from_object = object(w.from_object);
    fact.to_object = object(w.to_object);
    for (unsigned i = 0; i < guards; ++i) fact.guards[i] = object(w.guards[i]);
    fact.start = stack(w.start);
    fact.wait = stack(w.wait);
    fact.event = stack(w.event);
    run_.facts.push_back(std::move(fact));
  }

  const Arena& arena_;
  Past& past_;
  const uint32_t number_;
  const std::set<Past::Shape> known_before_;
  Past::Run run_;
  std::vector<uint32_t> roles_;
  std::map<uint32_t, uint32_t> stacks_, objects_, thread_objects_;
  std::map<uint32_t, uint64_t> first_time_;
};

}  // namespace

std::string Past::program_of(const Arena& arena) {
  const std::string path = path_of_program(arena);
  for (uint32_t i = 1, used = arena.used<dept::Module>(); i < used; ++i) {
    const dept::Module& module = arena.at<dept::Module>(dept::ModuleId(i));
    // The loader names the program itself '' or by its path.
    const std::string name = text_of(arena, module.path);
    if ((name.empty() || name == path) && module.build_id_size > 0) return build_id_of(module);
  }
  return path;
}

bool Past::add(const Arena& arena) {
  if (runs.size() >= kMostRuns) return false;
  if (path.empty()) path = path_of_program(arena);
  return Reading(arena, *this).read();
}

uint32_t Past::group_of(uint32_t role) {
  Role first = roles[role];
  first.ordinal = 0;
  const uint32_t group = roles.add(first);
  if (thread_names.size() < roles.size()) thread_names.emplace_back();
  return group;
}

// Objects of one run alone count as those of their class.
Past::Shape Past::shape_of(const Fact& fact) const {
  const auto named = [&](uint32_t object) -> uint64_t { return object_names[object].run != 0 ? kOfOneRun : object; };
  Shape shape{fact.from, fact.to, fact.role, named(fact.from_object), named(fact.to_object), fact.flags, fact.irq,
              static_cast<uint64_t>(fact.from_event), static_cast<uint64_t>(fact.to_event)};
  std::vector<uint64_t> guards;
  for (const uint32_t guard : fact.guards) guards.push_back(named(guard));
  std::sort(guards.begin(), guards.end());
  shape.insert(shape.end(), guards.begin(), guards.end());
  return shape;
}

}  // namespace causeway::findings
