// Two objects of one class, held at once: the kernel's rule, or the order of the objects.
#include "dept/graph.h"
#include "dept/instance_order.h"

namespace causeway::dept {

namespace {

// Opposite pairs looked at to tell of an order that is not kept.
constexpr unsigned kOpposites = 256;

}  // namespace

ReportId Graph::depend_same(ClassId cls, const Witness& witness) {
  const bool is_irq = (witness.flags & Witness::kIrq) != 0;
  const bool is_same = witness.from_object == witness.to_object;
  const bool is_strict = (arena_.at<Class>(cls).flags.load(std::memory_order_relaxed) & Class::kStrictNesting) != 0;
  if (!is_strict && !is_irq && is_same) return ReportId::kNone;
  EdgeId edge;
  bool must_search;
  const WitnessId stored = insert(cls, cls, witness, &edge, &must_search);
  if (stored == WitnessId::kNone) return ReportId::kNone;
  if (is_strict || is_irq) return report_nesting(edge, stored);

  const uint32_t against = orders_against(arena_, witness.from_object, witness.to_object);
  const uint32_t before = arena_.at<Edge>(edge).flags.fetch_or(against, std::memory_order_relaxed);
  pairs_.add(WitnessLists::key_of(edge, witness.from_object), stored);
  const bool is_broken = all_orders_broken(before | against);
  if (is_broken && !all_orders_broken(before)) forget_known();
  const bool has_circles = is_in_circle(cls);
  if (!is_broken && !has_circles) return ReportId::kNone;

  const Hop self{edge, stored};
  const Report* known = find_report(id_of(&self, 1), nullptr);
  if (known != nullptr && known->level >= Level::kLikely && !has_circles) return ReportId::kNone;
  arena_.count(Counter::kSearches);
  Jury jury(arena_, order_, judge_);
  ObjectCircles circles(arena_, jury);
  Verdict verdict;
  if (circles.find(edge, stored, ~0u, &verdict)) {
    mark_circle(verdict.hops, verdict.count);
    if (verdict.level >= Level::kLikely || is_broken) return publish_circle(verdict);
    return ReportId::kNone;
  }
  if (!is_broken || (known != nullptr && known->level >= Level::kPossible)) return ReportId::kNone;
  return report_disorder(edge, stored);
}

bool Graph::is_in_circle(ClassId cls) const {
  for (EdgeId id{arena_.at<Class>(cls).first_out.load(std::memory_order_relaxed)}; id != EdgeId::kNone;) {
    const Edge& edge = arena_.at<Edge>(id);
    if (edge.to != cls && (edge.flags.load(std::memory_order_relaxed) & Edge::kInCycle) != 0) return true;
    id = edge.next_out;
  }
  return false;
}

// One hop that is its own next: of itself, not of two threads.
ReportId Graph::report_nesting(EdgeId edge, WitnessId stored) {
  const Witness& witness = arena_.at<Witness>(stored);
  Jury jury(arena_, order_, judge_);
  Verdict verdict;
  verdict.count = 1;
  verdict.hops[0] = {edge, stored};
  verdict.refutations = jury.against(witness);
  // An interruption that waits for another object of the class need not wait for this one.
  if ((witness.flags & Witness::kIrq) != 0) verdict.refutations |= jury.against_meeting(witness, witness);
  verdict.level = level_of(verdict.refutations);
  const bool is_lock = (witness.flags & Witness::kOwned) != 0 && witness.from_event != Event::kRead;
  if (verdict.refutations == 0 && is_lock && witness.from_object == witness.to_object &&
      witness.from_object != ObjectId::kNone && (witness.flags & Witness::kIrq) == 0) {
    verdict.level = Level::kCertain;
  }
  mark_circle(verdict.hops, 1);
  return publish_circle(verdict);
}

// No circle was seen, but no order either: with the pair that contradicts this one most.
ReportId Graph::report_disorder(EdgeId edge, WitnessId stored) {
  Jury jury(arena_, order_, judge_);
  const Witness& witness = arena_.at<Witness>(stored);
  const uint32_t against = orders_against(arena_, witness.from_object, witness.to_object);
  Verdict best;
  unsigned best_cost = ~0u;
  unsigned looked_at = 0;
  for (WitnessId id = witness.next; id != WitnessId::kNone && looked_at < kOpposites; ++looked_at) {
    const Witness& other = arena_.at<Witness>(id);
    if (orders_against(arena_, other.from_object, other.to_object) != against) {
      const uint32_t refutations = Refutation::kOtherObjects | Refutation::kOrderNotConsistent | jury.against(witness) |
                                   jury.against(other) | jury.against_both(witness, other);
      const unsigned cost = Jury::cost_of(refutations);
      if (cost < best_cost) {
        best_cost = cost;
        best.refutations = refutations;
        best.level = level_of(refutations);
        best.count = 2;
        best.hops[0] = {edge, stored};
        best.hops[1] = {edge, id};
      }
    }
    id = other.next;
  }
  return best.count != 0 ? publish_circle(best) : ReportId::kNone;
}

}  // namespace causeway::dept
