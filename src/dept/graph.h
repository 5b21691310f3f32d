// The graph: which event depends on which. Finds the circles, and says how much each is to be believed.
//
//   Graph graph(arena, {});
//   ClassId a = graph.class_of(hash_of("a"), sub_id(Event::kWrite, 0), description);
//   if (graph.wants(a, b, witness)) graph.depend(a, b, witness);   // its stacks cost something: they are filled in between
//
// Known edges are recognised without a lock. A new edge or witness takes the graph's lock, is stored, and searched from:
// breadth first for the shortest circle, then on for others, until one has witnesses that could have met (`Judge`). An
// edge that closes a circle stays; each circle is one report, published again only if its level rises. Nothing is printed here.
//
// Levels (spec: kernel rules, then what userspace can know): kLikely if each hop has a witness such that the threads are
// distinct, no two hops share a guard, none was over before another could begin, and neighbours agree on the object;
// kPossible if only classes agree, or a hop is predicted or inferred; kInfo if every choice fails for thread, gate, order or time.
#pragma once

#include <cstdint>

#include "dept/arena.h"
#include "dept/engine_lock.h"
#include "dept/hash.h"
#include "dept/judge.h"
#include "dept/witness_lists.h"

namespace causeway::dept {

struct ClassDescription {
  Kind kind = Kind::kUnknown;
  StringId name = StringId::kNone;
  StackId site = StackId::kNone;
  uint32_t flags = 0;  // Class::Flag
};

class Graph {
 public:
  Graph(Arena& arena, const Order* order, const Judge& judge = {}) : arena_(arena), order_(order), judge_(judge) {}

  // The class with this key: the same one for the same key and sub. Lock-free once it exists. kNone: the table is full.
  ClassId class_of(uint64_t key, uint8_t sub, const ClassDescription& description);
  // Of an object's event, cached in the object.
  ClassId class_of(ObjectId object, Event event);

  // Whether there is one of this key, whatever its sub.
  bool has_class(uint64_t key) const;
  // Those whose keys lie in [begin, begin + size): from now on such a key is another class. Their edges stay.
  void forget_classes(uint64_t begin, uint64_t size);

  // Whether an edge, or a witness like this one, would be news. Lock-free; all of `witness` but its stacks, clock and time is looked at.
  bool wants(ClassId from, ClassId to, const Witness& witness) const;
  // The same by hash_of(witness) alone. For two objects of one class the other one is better: it may know that they are in order.
  bool wants(ClassId from, ClassId to, uint64_t hash, uint32_t epoch = 0) const {
    return wants(from, to, hash, epoch, nullptr);
  }
  // What makes a witness different from others: thread, objects, guards, flags; not its clock.
  static uint64_t hash_of(const Witness& witness);
  // The same by the sum of its guards' parts, before they are written into it.
  static uint64_t hash_of(const Witness& witness, uint64_t guards);
  static uint64_t hash_of_guard(ObjectId guard) { return mix(kSeed, index_of(guard)); }
  // Changes when witnesses that were refused so far may be wanted: belongs into the key of every cache that stands before wants().
  uint32_t generation() const { return generation_.load(std::memory_order_relaxed); }
  // What everybody knows of locks has to be looked at again.
  void forget_known() {
    generation_.fetch_add(1, std::memory_order_release);
    arena_.header().now.fetch_add(1, std::memory_order_release);  // where locks are known, this alone is looked at
  }
  // "from cannot happen before to has." Witness::next, hash and time_ns are the graph's to fill where 0. Two objects of one class:
  // from == to, decided by Class::kStrictNesting or by the order of the objects; the same object is no matter of a graph (report()
  // a relock), unless nesting is strict or an interruption does it. Returns the report that this made or raised.
  ReportId depend(ClassId from, ClassId to, const Witness& witness);
  // Takes back edges of tentative witnesses of this object's classes: it was no lock.
  void void_tentative(ObjectId object);

  // The object turned out to be a lock (Object::kLockLike is set): circles of its tentative witnesses are judged anew.
  ReportId confirm_tentative(ObjectId object);

  // Interruptions (spec 1.7). `to` was waited for inside `irq`; an event context of `from` has run with `enabled`. Of `wait` the
  // waited-for half counts, of `context` the thread, what is held since where, and the guards.
  ReportId irq_wait(ClassId to, unsigned irq, const Witness& wait);
  ReportId irq_enabled(ClassId from, IrqMask enabled, const Witness& context);

  // Everything that is no circle. `other` where the object was locked before.
  ReportId report(Problem problem, Misuse misuse, Level level, ThreadId thread, ObjectId object, StackId stack,
                  StackId other_stack);

  // A class's order of its own objects, as the kernel's lockdep_set_lock_cmp_fn: negative: `a` before `b` is fine.
  using Compare = int (*)(const void* a, const void* b);
  void set_compare(uint64_t key, Compare compare);
  // An edge from `from` to itself that the compare function of the class allows.
  bool compare_allows(ObjectId held, ObjectId wanted) const;

  // In the child of a fork, for its new arena: nothing is known.
  void reset();

  const Judge& judge() const { return judge_; }
  Arena& arena() { return arena_; }

 private:
  std::atomic<uint32_t>& place_of(uint64_t key, uint8_t sub) const;
  EdgeId find_edge(ClassId from, ClassId to) const;
  EdgeId add_edge(ClassId from, ClassId to, WitnessId witness, uint64_t now);
  bool is_known(uint64_t hash) const;
  void add_known(uint64_t hash);
  bool wants(ClassId from, ClassId to, uint64_t hash, uint32_t epoch, const Witness* witness) const;
  bool is_full(const Edge& edge, const Witness* offered) const;
  bool has_thread(const Edge& edge, ThreadId thread) const;
  bool has_enough_alike(const Edge& edge, uint64_t hash) const;
  bool is_pair_full(EdgeId edge, const Witness& offered) const;
  WitnessId store(const Witness& witness, uint64_t hash, uint64_t now);
  // The witness, on its edge: kNone if it is not news. `must_search`: the edge is new, or in a circle.
  WitnessId insert(ClassId from, ClassId to, const Witness& witness, EdgeId* edge, bool* must_search);
  ReportId depend_locked(ClassId from, ClassId to, const Witness& witness);
  ReportId depend_same(ClassId cls, const Witness& witness);
  ReportId report_nesting(EdgeId edge, WitnessId witness);
  ReportId report_disorder(EdgeId edge, WitnessId witness);
  bool is_in_circle(ClassId cls) const;
  bool remember_irq(uint64_t key, uint64_t hash, const Witness& witness);
  unsigned reach(ClassId start, bool forward, std::atomic<uint64_t> Class::* kinds, ClassId* found);
  ReportId close_irqs(ClassId u, ClassId v);
  ReportId interrupt(ClassId from, ClassId to, unsigned irq);
  ReportId search(EdgeId edge, WitnessId witness);
  void mark_circle(const Hop* hops, unsigned count);

  uint64_t id_of(const Hop* hops, unsigned count) const;
  Report* find_report(uint64_t id, ReportId* where);
  ReportId publish(uint64_t id, const Report& report);
  ReportId publish_circle(const Verdict& verdict);
  uint64_t stable_name(Frame frame) const;

  Arena& arena_;
  const Order* order_;
  Judge judge_;
  mutable EngineLock lock_;
  std::atomic<uint32_t> generation_{1};
  uint32_t mark_ = 0;               // of the newest search
  WitnessLists pairs_{arena_};
  std::atomic<IrqMask> irq_waits_{0};  // kinds of interruption that ever waited for something
  unsigned irq_depth_ = 0;
  struct Comparison {
    std::atomic<uint64_t> key{0};
    std::atomic<Compare> compare{nullptr};
  };
  static constexpr unsigned kComparisons = 256;
  Comparison comparisons_[kComparisons];
};

}  // namespace causeway::dept
