#include "findings/union.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "dept/hash.h"

namespace causeway::findings {

using dept::ClassId;
using dept::index_of;
using dept::ObjectId;
using dept::StackId;
using dept::ThreadId;
using dept::Witness;

namespace {

// Where modules lie that lay elsewhere in each run: beyond all that a program can use.
constexpr uint64_t kModules = uint64_t{1} << 56;
constexpr uint64_t kModuleSize = uint64_t{1} << 40;
constexpr uint64_t base_of(uint32_t module) { return kModules + module * kModuleSize; }

const uint32_t* epoch_in(const Past::Clock& clock, uint32_t role) {
  const auto at = std::lower_bound(clock.begin(), clock.end(), std::pair<uint32_t, uint32_t>(role, 0));
  return at != clock.end() && at->first == role ? &at->second : nullptr;
}

const Past::Lived* find(const Past::Run& run, uint32_t role) {
  const auto at = run.threads.find(role);
  return at == run.threads.end() ? nullptr : &at->second;
}

// That the first was over when the second began, and not by chance. Who was never seen to know anything is believed its times.
bool is_over_before(const Past::Lived& first, uint32_t role_of_first, const Past::Lived& second) {
  if (first.ended_ns == 0 || first.ended_ns > second.started_ns) return false;
  return !second.has_birth || epoch_in(second.birth, role_of_first) != nullptr;
}

}  // namespace

Union::Union(Past& past, Symbols& symbols, const dept::Judge& given) : past_(past), story_(arena_, symbols) {
  if (arena_.create(-1, {}) != 0) return;
  dept::Judge judge = given;
  judge.apart = &Union::apart;
  judge.context = this;
  graph_ = std::make_unique<dept::Graph>(arena_, &order_, judge);
  describe();
  replay();
}

uint64_t Union::address(const Past::Place& place) const {
  return place.module == 0 ? 0 : base_of(place.module) + place.offset % kModuleSize;
}

dept::Frame Union::frame(const Past::Place& place) {
  if (place.module == 0) return dept::Frame::source(arena_.intern(place.text));
  return dept::Frame::pc(address(place));
}

StackId Union::stack(uint32_t number) {
  if (number == 0 || number >= past_.stacks.size()) return StackId::kNone;
  if (stacks_[number] != StackId::kNone) return stacks_[number];
  std::vector<dept::Frame> frames;
  for (const Past::Place& place : past_.stacks[number]) frames.push_back(frame(place));
  return stacks_[number] = arena_.intern(frames.data(), static_cast<unsigned>(frames.size()));
}

// Everything under the number it has in the past.
void Union::describe() {
  dept::ArenaHeader& header = arena_.header();
  header.pid = header.parent_pid = 0;
  header.program.store(index_of(arena_.intern(past_.path)), std::memory_order_relaxed);
  stacks_.assign(past_.stacks.size(), StackId::kNone);
  for (uint32_t i = 1; i < past_.modules.size(); ++i) {
    dept::ModuleId number;
    dept::Module* added = arena_.add<dept::Module>(&number);
    if (added == nullptr) return;
    dept::Module& module = *added;
    module.begin = module.bias = base_of(i);
    module.path = arena_.intern(past_.modules[i].path);
    const std::string& id = past_.modules[i].build_id;
    for (; module.build_id_size < sizeof module.build_id && module.build_id_size * 2u + 1 < id.size(); ++module.build_id_size)
      module.build_id[module.build_id_size] =
          static_cast<uint8_t>(std::strtoul(id.substr(module.build_id_size * 2u, 2).c_str(), nullptr, 16));
    module.end = base_of(i) + kModuleSize;
  }
  for (uint32_t i = 1; i < past_.roles.size(); ++i) {
    ThreadId id;
    dept::Thread* thread = arena_.add<dept::Thread>(&id);
    if (thread == nullptr) return;
    const Past::Role& role = past_.roles[i];
    std::strncpy(thread->name, past_.thread_names[i].c_str(), sizeof thread->name - 1);
    thread->created = stack(role.created);
    thread->level = role.level;
    if (role.start.module != 0) thread->start_routine = address(role.start);
    for (const Past::Run& run : past_.runs)
      if (const Past::Lived* lived = find(run, i); lived != nullptr && lived->creator != i) thread->creator = ThreadId(lived->creator);
  }
  for (uint32_t i = 1; i < past_.objects.size(); ++i) {
    ObjectId id;
    dept::Object* object = arena_.add<dept::Object>(&id);
    if (object == nullptr) return;
    const Past::ObjectName& name = past_.object_names[i];
    const Past::Object& from = past_.objects[i];
    object->key = name.key;
    object->address = name.place.module != 0 ? address(name.place) : from.address;
    object->name = arena_.intern(from.name);
    object->birth = stack(from.birth);
    object->flags.store(from.flags, std::memory_order_relaxed);
    object->kind = from.kind;
    object->sub = from.sub;
    object->class_flags = from.class_flags;
    object->value.store(from.value, std::memory_order_relaxed);
    if (name.role != 0 && name.role < arena_.used<dept::Thread>())
      arena_.at<dept::Thread>(ThreadId(name.role)).object.store(index_of(id), std::memory_order_relaxed);
  }
}

void Union::replay() {
  std::vector<ClassId> classes(past_.classes.size(), ClassId::kNone);
  for (uint32_t i = 1; i < past_.classes.size(); ++i) {
    const Past::Class& c = past_.classes[i];
    classes[i] = graph_->class_of(past_.class_names[i].key, past_.class_names[i].sub,
                                  {.kind = c.kind, .name = arena_.intern(c.name), .site = stack(c.site), .flags = c.flags});
  }
  for (uint32_t i = 1; i < arena_.used<dept::Object>(); ++i)
    for (unsigned event = 0; event < dept::kEvents; ++event)
      arena_.at<dept::Object>(ObjectId(i)).classes[event].store(index_of(classes[past_.objects[i].classes[event]]), std::memory_order_relaxed);

  const uint32_t threads = arena_.used<dept::Thread>(), objects = arena_.used<dept::Object>();
  const auto object = [&](uint32_t number) { return number < objects ? ObjectId(number) : ObjectId::kNone; };
  for (uint32_t run = 0; run < past_.runs.size(); ++run) {
    for (const Past::Fact& fact : past_.runs[run].facts) {
      if (fact.role >= threads) continue;
      Witness witness{};
      witness.thread = ThreadId(fact.role);
      witness.from_object = object(fact.from_object);
      witness.to_object = object(fact.to_object);
      witness.start = stack(fact.start);
      witness.wait = stack(fact.wait);
      witness.event = stack(fact.event);
      witness.flags = fact.flags;
      witness.from_event = fact.from_event;
      witness.to_event = fact.to_event;
      witness.irq = fact.irq;
      witness.epoch = fact.epoch;
      witness.time_ns = fact.time_ns;
      witness.run = run + 1;
      for (const uint32_t guard : fact.guards)
        if (witness.guard_count < dept::kGuards) witness.guards[witness.guard_count++] = object(guard);
      if (const uint32_t first = arena_.take(dept::Table::kClock, static_cast<uint32_t>(fact.clock.size()) + 1)) {
        auto* words = static_cast<uint64_t*>(arena_.record(dept::Table::kClock, first));
        words[0] = fact.clock.size();
        for (size_t i = 0; i < fact.clock.size(); ++i) words[1 + i] = uint64_t{fact.clock[i].first} << 32 | fact.clock[i].second;
        witness.clock = dept::ClockId(first);
      }
      // Each is known by its number: what is the same in two runs has been told apart already.
      witness.hash = dept::mix(dept::mix(dept::kSeed, run), facts_.size());
      facts_[witness.hash] = {run, &fact};
      graph_->depend(classes[fact.from], classes[fact.to], witness);
    }
  }
}

std::vector<Finding> Union::findings() {
  std::vector<Finding> found;
  if (!arena_.is_open()) return found;
  std::set<std::string> told;
  for (uint32_t i = arena_.used<dept::Report>(); i-- > 1;) {
    const dept::Report& report = arena_.at<dept::Report>(dept::ReportId(i));
    std::set<uint32_t> runs;
    for (unsigned hop = 0; hop < report.hop_count; ++hop) runs.insert(arena_.at<Witness>(report.hops[hop].witness).run);
    Finding finding = story_.tell(report);
    if (!told.insert(finding.id).second || runs.size() < 2) continue;
    finding.raised = false;
    found.push_back(std::move(finding));
  }
  std::reverse(found.begin(), found.end());
  return found;
}

bool Union::apart(const void* self, const Witness& a, const Witness& b) {
  const auto& facts = static_cast<const Union*>(self)->facts_;
  const auto one = facts.find(a.hash), other = facts.find(b.hash);
  if (one == facts.end() || other == facts.end()) return true;
  return static_cast<const Union*>(self)->are_apart(one->second.first, *one->second.second, other->second.first, *other->second.second);
}

bool Union::are_apart(uint32_t run_a, const Past::Fact& a, uint32_t run_b, const Past::Fact& b) const {
  if (has_seen(run_a, b) || has_seen(run_b, a)) return true;
  if (!met(run_a, a.role, b.role) && !met(run_b, a.role, b.role)) return true;
  return is_apart_from_all(run_a, a, b.role) || is_apart_from_all(run_b, b, a.role);
}

bool Union::has_seen(uint32_t run, const Past::Fact& fact) const {
  return past_.runs[run].seen.contains({fact.from, fact.to, past_.group_of(fact.role)});
}

// Whether two threads were there at the same time, as far as order goes.
bool Union::met(uint32_t run, uint32_t one, uint32_t other) const {
  const Past::Lived* a = find(past_.runs[run], one);
  const Past::Lived* b = find(past_.runs[run], other);
  return a != nullptr && b != nullptr && !is_over_before(*a, one, *b) && !is_over_before(*b, other, *a);
}

// Whether this happened before that thread began, or after it had ended.
bool Union::is_apart_from_all(uint32_t run, const Past::Fact& fact, uint32_t role) const {
  const Past::Run& what = past_.runs[run];
  const Past::Lived* lived = find(what, role);
  if (lived == nullptr) return false;
  if (const uint32_t* known = lived->has_birth ? epoch_in(lived->birth, fact.role) : nullptr; known != nullptr && *known > fact.epoch) return true;
  if (lived->ended_ns != 0 && lived->ended_ns <= fact.time_ns && epoch_in(fact.clock, role) != nullptr) return true;
  // Before it, or one of those it descends from, was created by the thread of this.
  for (unsigned depth = 0; lived != nullptr && depth < 64; ++depth) {
    if (lived->creator == fact.role) return fact.time_ns < lived->started_ns;
    lived = lived->creator == 0 ? nullptr : find(what, lived->creator);
  }
  return false;
}

}  // namespace causeway::findings
