// Interruptions: what runs on top of an event context, and waits, makes that context's event depend on it (spec 1.7).
//
// An edge "event context that may be interrupted -> what the interruption waits for" is made only where it closes a circle: there would
// be one from every class to every other.
#include <bit>

#include "base/clock.h"
#include "dept/graph.h"
#include "dept/hash.h"

namespace causeway::dept {

namespace {

constexpr unsigned kRepresentatives = 4;  // witnesses kept of one class and kind
constexpr unsigned kReached = 128;        // classes on either side of a new edge

}  // namespace

ReportId Graph::irq_wait(ClassId to, unsigned irq, const Witness& wait) {
  if (to == ClassId::kNone || irq >= 64) return ReportId::kNone;
  Class& c = arena_.at<Class>(to);
  const IrqMask one = IrqMask{1} << irq;
  const uint64_t key = WitnessLists::key_of(WitnessLists::Irq::kWait, to, irq);
  const uint64_t hash = mix(hash_of(wait), key);
  if ((c.irq_waits.load(std::memory_order_relaxed) & one) != 0 && is_known(hash)) return ReportId::kNone;
  EngineLockGuard hold(lock_);
  if (!remember_irq(key, hash, wait)) return ReportId::kNone;
  c.irq_waits.fetch_or(one, std::memory_order_relaxed);
  irq_waits_.fetch_or(one, std::memory_order_relaxed);
  return close_irqs(to, to);
}

ReportId Graph::irq_enabled(ClassId from, IrqMask enabled, const Witness& context) {
  if (from == ClassId::kNone) return ReportId::kNone;
  Class& c = arena_.at<Class>(from);
  // Of kinds that never waited one representative is enough.
  IrqMask wanted = enabled & (~c.enabled_irqs.load(std::memory_order_relaxed) | irq_waits_.load(std::memory_order_relaxed));
  if (wanted == 0) return ReportId::kNone;
  const uint64_t own = hash_of(context);
  for (IrqMask rest = wanted; rest != 0; rest &= rest - 1) {
    const unsigned irq = static_cast<unsigned>(std::countr_zero(rest));
    const IrqMask one = IrqMask{1} << irq;
    const uint64_t key = WitnessLists::key_of(WitnessLists::Irq::kEnabled, from, irq);
    if ((c.enabled_irqs.load(std::memory_order_relaxed) & one) != 0 && is_known(mix(own, key))) wanted &= ~one;
  }
  if (wanted == 0) return ReportId::kNone;
  EngineLockGuard hold(lock_);
  bool any = false;
  for (IrqMask rest = wanted; rest != 0; rest &= rest - 1) {
    const uint64_t key =
        WitnessLists::key_of(WitnessLists::Irq::kEnabled, from, static_cast<unsigned>(std::countr_zero(rest)));
    any |= remember_irq(key, mix(own, key), context);
  }
  if (!any) return ReportId::kNone;
  c.enabled_irqs.fetch_or(wanted, std::memory_order_relaxed);
  return close_irqs(from, from);
}

bool Graph::remember_irq(uint64_t key, uint64_t hash, const Witness& witness) {
  if (is_known(hash)) return false;
  add_known(hash);
  unsigned count = 0;
  for (uint32_t at = pairs_.first(key); at != 0; at = pairs_.next(at)) ++count;
  if (count >= kRepresentatives) return false;
  const WitnessId stored = store(witness, hash, monotonic_ns());
  return stored != WitnessId::kNone && pairs_.add(key, stored);
}

// The classes that `start` leads to, or that lead to it, and have what `kinds` says; itself included.
unsigned Graph::reach(ClassId start, bool forward, std::atomic<uint64_t> Class::* kinds, ClassId* found) {
  if (++mark_ == 0) ++mark_;
  auto* queue = arena_.words<ClassId>(Table::kSearch);
  uint32_t head = 0;
  uint32_t tail = 0;
  unsigned count = 0;
  queue[tail++] = start;
  arena_.at<Class>(start).mark = mark_;
  while (head != tail) {
    const ClassId at = queue[head++];
    const Class& here = arena_.at<Class>(at);
    if ((here.*kinds).load(std::memory_order_relaxed) != 0) {
      if (count == kReached) {
        arena_.count(Counter::kSearchGivenUp);
        return count;
      }
      found[count++] = at;
    }
    EdgeId id{(forward ? here.first_out : here.first_in).load(std::memory_order_relaxed)};
    while (id != EdgeId::kNone) {
      const Edge& edge = arena_.at<Edge>(id);
      const ClassId next = forward ? edge.to : edge.from;
      id = forward ? edge.next_out : edge.next_in;
      Class& there = arena_.at<Class>(next);
      if (there.mark == mark_ || (edge.flags.load(std::memory_order_relaxed) & Edge::kVoid) != 0) continue;
      there.mark = mark_;
      queue[tail++] = next;
    }
  }
  return count;
}

// Of an edge u -> v that is new: what may be interrupted beyond it, by what waits for something before it.
ReportId Graph::close_irqs(ClassId u, ClassId v) {
  constexpr unsigned kDepth = 4;
  if (irq_waits_.load(std::memory_order_relaxed) == 0 || irq_depth_ == kDepth) return ReportId::kNone;
  ClassId interrupted[kReached];
  ClassId waited_for[kReached];
  const unsigned contexts = reach(v, true, &Class::enabled_irqs, interrupted);
  const unsigned waits = contexts == 0 ? 0 : reach(u, false, &Class::irq_waits, waited_for);
  ReportId last = ReportId::kNone;
  ++irq_depth_;
  for (unsigned e = 0; e < contexts; ++e) {
    for (unsigned i = 0; i < waits; ++i) {
      IrqMask common = arena_.at<Class>(interrupted[e]).enabled_irqs.load(std::memory_order_relaxed) &
                       arena_.at<Class>(waited_for[i]).irq_waits.load(std::memory_order_relaxed);
      for (; common != 0; common &= common - 1) {
        const ReportId made = interrupt(interrupted[e], waited_for[i], static_cast<unsigned>(std::countr_zero(common)));
        if (made != ReportId::kNone) last = made;
      }
    }
  }
  --irq_depth_;
  return last;
}

ReportId Graph::interrupt(ClassId from, ClassId to, unsigned irq) {
  ReportId last = ReportId::kNone;
  const uint32_t contexts = pairs_.first(WitnessLists::key_of(WitnessLists::Irq::kEnabled, from, irq));
  const uint32_t waits = pairs_.first(WitnessLists::key_of(WitnessLists::Irq::kWait, to, irq));
  for (uint32_t c = contexts; c != 0; c = pairs_.next(c)) {
    for (uint32_t w = waits; w != 0; w = pairs_.next(w)) {
      const Witness& context = arena_.at<Witness>(pairs_.witness(c));
      const Witness& wait = arena_.at<Witness>(pairs_.witness(w));
      Witness both = context;
      both.to_object = wait.to_object;
      both.to_event = wait.to_event;
      both.wait = wait.wait;
      both.flags = context.flags | Witness::kOwned | Witness::kIrq | (wait.flags & Witness::kTimed);
      both.irq = static_cast<uint8_t>(irq);
      both.hash = 0;
      both.time_ns = 0;
      const ReportId made = depend_locked(from, to, both);
      if (made != ReportId::kNone) last = made;
    }
  }
  return last;
}

}  // namespace causeway::dept
