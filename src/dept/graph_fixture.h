// For tests: threads that take locks, as a graph sees it.
//
//   Play play;
//   play.lock(1, "a");  play.lock(1, "b");            // thread 1 holds a and waits for b
//   play.u(1, "b"); ...
//   EXPECT_EQ(play.worst()->level, Level::kLikely);
#pragma once

#include <map>
#include <string>
#include <vector>

#include "dept/graph.h"

namespace causeway::dept {

class Play {
 public:
  static Arena::Capacity small() {
    return {.classes = 1 << 12, .objects = 1 << 14, .edges = 1 << 15, .witnesses = 1 << 15, .threads = 1 << 8, .thread_states = 16,
            .stacks = 1 << 10, .frames = 1 << 12, .string_bytes = 1 << 16, .modules = 16, .reports = 1 << 10, .clock_words = 1 << 10,
            .waiters = 16};
  }
  explicit Play(const Judge& judge = {}, uint32_t class_flags = 0) : graph(arena, nullptr, judge), class_flags_(class_flags) {
    arena.create(-1, small());
  }

  // "a" is an object of class "a"; "x.1" the object 1 of class "x". Addresses ascend with first use, unless given before.
  ObjectId object(const std::string& name, uint64_t address = 0) {
    ObjectId& id = objects_[name];
    if (id != ObjectId::kNone) return id;
    Object* o = arena.add<Object>(&id);
    const std::string cls = name.substr(0, name.find('.'));
    o->key = std::hash<std::string>{}(cls);
    o->name = arena.intern(cls);
    o->kind = Kind::kMutex;
    o->address = address != 0 ? address : 0x1000 + 64 * index_of(id);
    o->class_flags = static_cast<uint16_t>(class_flags_);
    return id;
  }
  ClassId cls(const std::string& name, Event event = Event::kWrite) { return graph.class_of(object(name), event); }

  // Waits for `name`'s events while everything held is held, then holds `as`.
  ReportId lock(unsigned thread, const std::string& name, EventMask waits = bit(Event::kWrite), Event as = Event::kWrite,
                uint32_t flags = 0) {
    ReportId last = ReportId::kNone;
    for (unsigned e = 0; e < kEvents; ++e) {
      if ((waits & bit(Event(e))) == 0) continue;
      for (const Entry& held : held_[thread]) {
        if (const ReportId id = depend(thread, held, name, Event(e), flags); id != ReportId::kNone) last = id;
      }
    }
    held_[thread].push_back({name, as});
    return last;
  }
  // The kinds of taking a lock that tests speak of: mutex, reader (readers first), queued reader, writer.
  ReportId l(unsigned thread, const std::string& name) { return lock(thread, name); }
  ReportId r(unsigned thread, const std::string& name) { return lock(thread, name, bit(Event::kWrite), Event::kRead); }
  ReportId q(unsigned thread, const std::string& name) { return lock(thread, name, bit(Event::kWrite) | bit(Event::kRead), Event::kRead); }
  ReportId w(unsigned thread, const std::string& name) { return lock(thread, name, bit(Event::kWrite) | bit(Event::kRead)); }
  void u(unsigned thread, const std::string& name) {
    auto& held = held_[thread];
    for (size_t i = held.size(); i-- > 0;) {
      if (held[i].name == name) {
        held.erase(held.begin() + static_cast<long>(i));
        return;
      }
    }
  }
  void unlock_all(unsigned thread) { held_[thread].clear(); }
  // Thread `thread` holds all but the last of them, in this order, and waits for each in turn; then lets go.
  void chain(unsigned thread, const std::vector<std::string>& names) {
    for (const std::string& name : names) l(thread, name);
    unlock_all(thread);
  }

  std::vector<const Report*> reports() const {
    std::vector<const Report*> all;
    for (uint32_t i = 1; i < arena.used<Report>(); ++i) {
      const Report& r = arena.at<Report>(ReportId(i));
      if (r.published.load(std::memory_order_acquire) != 0) all.push_back(&r);
    }
    return all;
  }
  const Report* newest() const { return reports().empty() ? nullptr : reports().back(); }
  bool silent() const { return reports().empty(); }
  // Of the highest level.
  const Report* worst() const {
    const Report* worst = nullptr;
    for (const Report* r : reports()) {
      if (worst == nullptr || r->level > worst->level) worst = r;
    }
    return worst;
  }

  Arena arena;
  Graph graph;

 private:
  struct Entry {
    std::string name;
    Event event;
  };

  ReportId depend(unsigned thread, const Entry& held, const std::string& wanted, Event event, uint32_t flags) {
    Witness w{};
    w.thread = ThreadId(thread);
    w.from_object = object(held.name);
    w.to_object = object(wanted);
    w.from_event = held.event;
    w.to_event = event;
    w.flags = Witness::kOwned | flags;
    for (const Entry& other : held_[thread]) {
      if (other.event == Event::kRead || other.name == held.name) continue;
      if (w.guard_count == kGuards) {
        w.flags |= Witness::kGuardsLost;
        break;
      }
      w.guards[w.guard_count++] = object(other.name);
    }
    const ClassId from = cls(held.name, held.event);
    const ClassId to = cls(wanted, event);
    return graph.wants(from, to, w) ? graph.depend(from, to, w) : ReportId::kNone;
  }

  uint32_t class_flags_;
  std::map<std::string, ObjectId> objects_;
  std::map<unsigned, std::vector<Entry>> held_;
};

}  // namespace causeway::dept
