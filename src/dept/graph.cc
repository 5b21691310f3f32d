#include "dept/graph.h"

#include "base/clock.h"
#include "dept/circles.h"
#include "dept/hash.h"
#include "dept/instance_order.h"

namespace causeway::dept {

namespace {

constexpr uint32_t kProbes = 256;
constexpr uint32_t kWitnesses = 4;          // of an edge
constexpr uint32_t kWitnessesOfOthers = 8;  // of an edge, if no thread so far is the one that offers
constexpr uint32_t kWitnessesInCycle = 64;  // of one that matters
constexpr uint32_t kAlike = 8;              // of those, of one shape and different times
constexpr unsigned kTries = 64;             // circles looked at for one witness

uint64_t key_of(ClassId from, ClassId to) { return mix(index_of(from), index_of(to)); }

bool has(const std::atomic<uint32_t>& flags, uint32_t flag) { return (flags.load(std::memory_order_relaxed) & flag) != 0; }

}  // namespace

uint64_t Graph::hash_of(const Witness& w) {
  // In whatever order they were taken.
  uint64_t guards = 0;
  const unsigned count = w.guard_count < kGuards ? w.guard_count : kGuards;
  for (unsigned i = 0; i < count; ++i) guards += hash_of_guard(w.guards[i]);
  return hash_of(w, guards);
}

uint64_t Graph::hash_of(const Witness& w, uint64_t guards) {
  uint64_t hash = mix(kSeed, index_of(w.thread));
  hash = mix(hash, uint64_t{index_of(w.from_object)} << 32 | index_of(w.to_object));
  hash = mix(hash, uint64_t{w.flags} << 32 | static_cast<uint32_t>(w.irq) << 16 |
                       static_cast<uint32_t>(w.from_event) << 8 | static_cast<uint32_t>(w.to_event));
  return mix(mix(hash, guards), w.run);
}

EdgeId Graph::find_edge(ClassId from, ClassId to) const {
  const auto* places = arena_.words<const std::atomic<uint32_t>>(Table::kEdgeIndex);
  const uint32_t mask = arena_.capacity(Table::kEdgeIndex) - 1;
  for (uint32_t i = static_cast<uint32_t>(key_of(from, to));; ++i) {
    const uint32_t id = places[i & mask].load(std::memory_order_acquire);
    if (id == 0) return EdgeId::kNone;
    const Edge& edge = arena_.at<Edge>(EdgeId(id));
    if (edge.from == from && edge.to == to) return EdgeId(id);
  }
}

EdgeId Graph::add_edge(ClassId from, ClassId to, WitnessId witness, uint64_t now) {
  EdgeId id;
  Edge* edge = arena_.add<Edge>(&id);
  if (edge == nullptr) return EdgeId::kNone;
  Class& source = arena_.at<Class>(from);
  Class& target = arena_.at<Class>(to);
  edge->from = from;
  edge->to = to;
  edge->next_out = EdgeId(source.first_out.load(std::memory_order_relaxed));
  edge->next_in = EdgeId(target.first_in.load(std::memory_order_relaxed));
  edge->first_seen_ns = now;
  edge->last_seen_ns = now;
  edge->first_witness.store(index_of(witness), std::memory_order_release);
  source.first_out.store(index_of(id), std::memory_order_release);
  target.first_in.store(index_of(id), std::memory_order_release);
  auto* places = arena_.words<std::atomic<uint32_t>>(Table::kEdgeIndex);
  const uint32_t mask = arena_.capacity(Table::kEdgeIndex) - 1;
  uint32_t i = static_cast<uint32_t>(key_of(from, to));
  while (places[i & mask].load(std::memory_order_relaxed) != 0) ++i;
  places[i & mask].store(index_of(id), std::memory_order_release);
  return id;
}

bool Graph::is_known(uint64_t hash) const {
  const auto* places = arena_.words<const std::atomic<uint64_t>>(Table::kKnown);
  const uint32_t mask = arena_.capacity(Table::kKnown) - 1;
  for (uint32_t i = 0; i < kProbes; ++i) {
    const uint64_t value = places[(hash + i) & mask].load(std::memory_order_acquire);
    if (value == hash) return true;
    if (value == 0) return false;
  }
  return true;
}

void Graph::add_known(uint64_t hash) {
  auto* places = arena_.words<std::atomic<uint64_t>>(Table::kKnown);
  const uint32_t mask = arena_.capacity(Table::kKnown) - 1;
  for (uint32_t i = 0; i < kProbes; ++i) {
    std::atomic<uint64_t>& place = places[(hash + i) & mask];
    if (place.load(std::memory_order_relaxed) != 0) continue;
    place.store(hash, std::memory_order_release);
    return;
  }
}

bool Graph::has_thread(const Edge& edge, ThreadId thread) const {
  for (WitnessId id{edge.first_witness.load(std::memory_order_acquire)}; id != WitnessId::kNone;) {
    const Witness& witness = arena_.at<Witness>(id);
    if (witness.thread == thread) return true;
    id = witness.next;
  }
  return false;
}

bool Graph::is_full(const Edge& edge, const Witness* offered) const {
  const uint32_t flags = edge.flags.load(std::memory_order_relaxed);
  uint32_t limit = (flags & Edge::kInCycle) != 0 ? kWitnessesInCycle : kWitnesses;
  if (edge.from == edge.to && !has(arena_.at<Class>(edge.from).flags, Class::kStrictNesting)) {
    const uint32_t against =
        offered != nullptr ? orders_against(arena_, offered->from_object, offered->to_object) : uint32_t{kAllOrders};
    limit = all_orders_broken(flags | against) ? kPairsWithoutOrder : kPairsInOrder;
  } else if (offered != nullptr && limit == kWitnesses) {
    // A second thread is what makes a circle dangerous: there is room for it, whatever the first one did.
    if (edge.witnesses.load(std::memory_order_relaxed) < kWitnessesOfOthers && !has_thread(edge, offered->thread)) limit = ~0u;
  }
  return edge.witnesses.load(std::memory_order_relaxed) >= limit || arena_.used<Witness>() == arena_.capacity(Table::kWitness);
}

bool Graph::wants(ClassId from, ClassId to, const Witness& witness) const {
  if (from == to && witness.from_object == witness.to_object && (witness.flags & Witness::kIrq) == 0 &&
      !has(arena_.at<Class>(from).flags, Class::kStrictNesting)) {
    return false;
  }
  return wants(from, to, witness.hash != 0 ? witness.hash : hash_of(witness), witness.epoch, &witness);
}

bool Graph::wants(ClassId from, ClassId to, uint64_t hash, uint32_t epoch, const Witness* witness) const {
  const EdgeId id = find_edge(from, to);
  if (id == EdgeId::kNone) {
    return arena_.used<Edge>() != arena_.capacity(Table::kEdge) && arena_.used<Witness>() != arena_.capacity(Table::kWitness);
  }
  const Edge& edge = arena_.at<Edge>(id);
  if (is_full(edge, witness)) return has(edge.flags, Edge::kVoid);
  if (!has(edge.flags, Edge::kInCycle)) return !is_known(mix(hash, index_of(id)));
  // Where it matters, the same again at a later time may be concurrent to what the first one was before.
  return !is_known(mix(~hash, index_of(id))) && !is_known(mix(mix(hash, epoch), index_of(id)));
}

WitnessId Graph::store(const Witness& given, uint64_t hash, uint64_t now) {
  WitnessId id;
  Witness* witness = arena_.add<Witness>(&id);
  if (witness == nullptr) return WitnessId::kNone;
  *witness = given;
  witness->next = WitnessId::kNone;
  witness->hash = hash;
  if (witness->time_ns == 0) witness->time_ns = now;
  if (witness->guard_count > kGuards) witness->guard_count = kGuards;
  return id;
}

WitnessId Graph::insert(ClassId from, ClassId to, const Witness& given, EdgeId* which, bool* must_search) {
  const uint64_t now = monotonic_ns();
  const uint64_t hash = given.hash != 0 ? given.hash : hash_of(given);
  EdgeId id = find_edge(from, to);
  *which = id;
  *must_search = id == EdgeId::kNone;
  if (id != EdgeId::kNone) {
    Edge& edge = arena_.at<Edge>(id);
    edge.count.fetch_add(1, std::memory_order_relaxed);
    edge.last_seen_ns = now;
    const bool in_cycle = has(edge.flags, Edge::kInCycle);
    const bool was_void = has(edge.flags, Edge::kVoid);
    if (is_full(edge, &given) && !was_void) return WitnessId::kNone;
    if (is_known(mix(in_cycle ? mix(hash, given.epoch) : hash, index_of(id)))) return WitnessId::kNone;
    if (in_cycle && has_enough_alike(edge, hash)) {
      add_known(mix(~hash, index_of(id)));
      return WitnessId::kNone;
    }
    *must_search = in_cycle || was_void;
    if (from == to && is_pair_full(id, given)) {
      add_known(mix(hash, index_of(id)));
      return WitnessId::kNone;
    }
  }
  const WitnessId witness = store(given, hash, now);
  if (witness == WitnessId::kNone) return WitnessId::kNone;
  if (id == EdgeId::kNone) {
    id = add_edge(from, to, witness, now);
    if (id == EdgeId::kNone) return WitnessId::kNone;
    *which = id;
    arena_.at<Edge>(id).count.store(1, std::memory_order_relaxed);
  } else {
    Edge& edge = arena_.at<Edge>(id);
    arena_.at<Witness>(witness).next = WitnessId(edge.first_witness.load(std::memory_order_relaxed));
    edge.first_witness.store(index_of(witness), std::memory_order_release);
    edge.flags.fetch_and(~uint32_t{Edge::kVoid}, std::memory_order_relaxed);
  }
  Edge& edge = arena_.at<Edge>(id);
  edge.kinds.fetch_or(given.flags, std::memory_order_relaxed);
  edge.witnesses.fetch_add(1, std::memory_order_relaxed);
  add_known(mix(hash, index_of(id)));
  add_known(mix(mix(hash, given.epoch), index_of(id)));
  return witness;
}

bool Graph::has_enough_alike(const Edge& edge, uint64_t hash) const {
  uint32_t alike = 0;
  for (WitnessId id{edge.first_witness.load(std::memory_order_relaxed)}; id != WitnessId::kNone && alike < kAlike;) {
    const Witness& witness = arena_.at<Witness>(id);
    if (witness.hash == hash) ++alike;
    id = witness.next;
  }
  return alike >= kAlike;
}

// So that one pair of objects does not take the room of all others.
bool Graph::is_pair_full(EdgeId edge, const Witness& offered) const {
  unsigned count = 0;
  for (uint32_t at = pairs_.first(WitnessLists::key_of(edge, offered.from_object)); at != 0; at = pairs_.next(at)) {
    if (arena_.at<Witness>(pairs_.witness(at)).to_object == offered.to_object) ++count;
  }
  return count >= kWitnessesOfPair;
}

ReportId Graph::depend(ClassId from, ClassId to, const Witness& witness) {
  if (from == ClassId::kNone || to == ClassId::kNone) return ReportId::kNone;
  EngineLockGuard hold(lock_);
  return depend_locked(from, to, witness);
}

ReportId Graph::depend_locked(ClassId from, ClassId to, const Witness& witness) {
  if (from == to) return depend_same(from, witness);
  EdgeId edge;
  bool must_search;
  const WitnessId stored = insert(from, to, witness, &edge, &must_search);
  if (stored == WitnessId::kNone || !must_search) return ReportId::kNone;
  const ReportId made = search(edge, stored);
  const ReportId interrupted = close_irqs(from, to);
  return interrupted != ReportId::kNone ? interrupted : made;
}

// All circles through this edge, with this witness: only they can have become worse.
ReportId Graph::search(EdgeId edge, WitnessId witness) {
  arena_.count(Counter::kSearches);
  Jury jury(arena_, order_, judge_);
  Verdict best;
  bool found = false;
  bool has_doubts = false;  // a circle is there that is not likely so far
  Level lowest = Level::kCertain;
  unsigned tries = 0;
  for (Circles circles(arena_, mark_, edge); tries < kTries && circles.next(); ++tries) {
    mark_circle(circles.hops(), circles.count());
    const Report* known = find_report(id_of(circles.hops(), circles.count()), nullptr);
    if (known != nullptr && known->level >= Level::kLikely) continue;
    Hop hops[kHops];
    for (unsigned i = 0; i < circles.count(); ++i) hops[i] = circles.hops()[i];
    hops[0].witness = witness;
    Verdict verdict;
    if (!jury.weigh(hops, circles.count(), &verdict)) continue;
    if (known != nullptr && verdict.level <= known->level) {
      verdict.level = known->level;
    } else if (!found || verdict.level > best.level) {
      best = verdict;
      found = true;
      if (best.level >= Level::kLikely) return publish_circle(best);
    }
    has_doubts = true;
    if (verdict.level < lowest) lowest = verdict.level;
  }
  if (tries == kTries) arena_.count(Counter::kSearchGivenUp);
  // Circles in which a class occurs twice, object by object.
  if (has_doubts && judge_.objects) {
    const uint32_t no_better = lowest == Level::kInfo ? Refutation::kOneThread : Refutation::kOtherObjects;
    ObjectCircles circles(arena_, jury);
    Verdict verdict;
    if (circles.find(edge, witness, Jury::cost_of(no_better), &verdict) && (!found || verdict.level > best.level)) {
      mark_circle(verdict.hops, verdict.count);
      best = verdict;
      found = true;
    }
  }
  return found ? publish_circle(best) : ReportId::kNone;
}

ReportId Graph::confirm_tentative(ObjectId object) {
  EngineLockGuard hold(lock_);
  ReportId last = ReportId::kNone;
  const auto again = [&](EdgeId id) {
    const Edge& edge = arena_.at<Edge>(id);
    if (!has(edge.flags, Edge::kInCycle) || edge.from == edge.to) return;
    for (WitnessId at{edge.first_witness.load(std::memory_order_relaxed)}; at != WitnessId::kNone;) {
      const Witness& witness = arena_.at<Witness>(at);
      if ((witness.flags & Witness::kTentative) != 0 && (witness.from_object == object || witness.to_object == object)) {
        if (const ReportId made = search(id, at); made != ReportId::kNone) last = made;
      }
      at = witness.next;
    }
  };
  for (const std::atomic<uint32_t>& known : arena_.at<Object>(object).classes) {
    const Class& c = arena_.at<Class>(ClassId(known.load(std::memory_order_relaxed)));
    for (EdgeId id{c.first_out.load(std::memory_order_relaxed)}; id != EdgeId::kNone; id = arena_.at<Edge>(id).next_out) again(id);
    for (EdgeId id{c.first_in.load(std::memory_order_relaxed)}; id != EdgeId::kNone; id = arena_.at<Edge>(id).next_in) again(id);
  }
  return last;
}

void Graph::mark_circle(const Hop* hops, unsigned count) {
  bool is_new = false;
  for (unsigned i = 0; i < count; ++i) {
    is_new |= (arena_.at<Edge>(hops[i].edge).flags.fetch_or(Edge::kInCycle, std::memory_order_relaxed) & Edge::kInCycle) == 0;
  }
  if (is_new) forget_known();
}

void Graph::void_tentative(ObjectId object) {
  EngineLockGuard hold(lock_);
  Jury jury(arena_, order_, judge_);
  for (const std::atomic<uint32_t>& known : arena_.at<Object>(object).classes) {
    const ClassId cls{known.load(std::memory_order_relaxed)};
    if (cls == ClassId::kNone) continue;
    const auto void_edge = [&](Edge& edge) {
      for (WitnessId id{edge.first_witness.load(std::memory_order_relaxed)}; id != WitnessId::kNone;) {
        const Witness& witness = arena_.at<Witness>(id);
        if (!jury.is_void(witness)) return;
        id = witness.next;
      }
      if ((edge.flags.fetch_or(Edge::kVoid, std::memory_order_relaxed) & Edge::kVoid) == 0) {
        arena_.count(Counter::kTentativeVoided);
        forget_known();
      }
    };
    const Class& c = arena_.at<Class>(cls);
    for (EdgeId id{c.first_out.load(std::memory_order_relaxed)}; id != EdgeId::kNone; id = arena_.at<Edge>(id).next_out) {
      void_edge(arena_.at<Edge>(id));
    }
    for (EdgeId id{c.first_in.load(std::memory_order_relaxed)}; id != EdgeId::kNone; id = arena_.at<Edge>(id).next_in) {
      void_edge(arena_.at<Edge>(id));
    }
  }
}

void Graph::set_compare(uint64_t key, Compare compare) {
  EngineLockGuard hold(lock_);
  for (Comparison& comparison : comparisons_) {
    const uint64_t other = comparison.key.load(std::memory_order_relaxed);
    if (other != key && other != 0) continue;
    comparison.compare.store(compare, std::memory_order_release);
    comparison.key.store(key, std::memory_order_release);
    return;
  }
}

bool Graph::compare_allows(ObjectId held, ObjectId wanted) const {
  const Object& a = arena_.at<Object>(held);
  const Object& b = arena_.at<Object>(wanted);
  if (a.key != b.key || a.key == 0) return false;
  for (const Comparison& comparison : comparisons_) {
    const uint64_t key = comparison.key.load(std::memory_order_acquire);
    if (key == 0) return false;
    if (key != a.key) continue;
    const Compare compare = comparison.compare.load(std::memory_order_acquire);
    return compare != nullptr &&
           compare(reinterpret_cast<const void*>(a.address), reinterpret_cast<const void*>(b.address)) < 0;
  }
  return false;
}

void Graph::reset() {
  lock_.reset();
  forget_known();
  mark_ = 0;
  irq_depth_ = 0;
  irq_waits_.store(0, std::memory_order_relaxed);
}

}  // namespace causeway::dept
