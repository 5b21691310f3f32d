#include "dept/circles.h"

namespace causeway::dept {

namespace {

// Edges tried by depth for one closing edge.
constexpr uint64_t kMaxSteps = 1 << 15;

EdgeId first_out(const Class& c) { return EdgeId(c.first_out.load(std::memory_order_relaxed)); }
EdgeId first_in(const Class& c) { return EdgeId(c.first_in.load(std::memory_order_relaxed)); }
bool is_void(const Edge& edge) { return (edge.flags.load(std::memory_order_relaxed) & Edge::kVoid) != 0; }

}  // namespace

uint32_t Circles::new_mark() {
  if (++mark_ == 0) {
    for (uint32_t i = 1; i < arena_.used<Class>(); ++i) arena_.at<Class>(ClassId(i)).mark = 0;
    mark_ = 1;
  }
  return mark_;
}

bool Circles::next() {
  switch (stage_) {
    case Stage::kFirst:
      stage_ = shortest() ? Stage::kOthers : Stage::kDone;
      if (stage_ == Stage::kOthers) return true;
      // Too long to be told: a shorter one does not exist.
      return false;
    case Stage::kOthers:
      if (limit_ == 0) {
        measure();
        limit_ = count_;
        depth_ = 0;
      }
      if (deeper()) return true;
      stage_ = Stage::kDone;
      return false;
    case Stage::kDone: break;
  }
  return false;
}

// Breadth first from the closing edge's target to its source.
bool Circles::shortest() {
  const ClassId source = arena_.at<Edge>(closing_).from;
  const ClassId target = arena_.at<Edge>(closing_).to;
  const uint32_t mark = new_mark();
  auto* queue = arena_.words<ClassId>(Table::kSearch);
  uint32_t head = 0;
  uint32_t tail = 0;
  queue[tail++] = target;
  arena_.at<Class>(target).mark = mark;
  arena_.at<Class>(target).parent = 0;
  while (head != tail && arena_.at<Class>(source).mark != mark) {
    const Class& here = arena_.at<Class>(queue[head++]);
    for (EdgeId id = first_out(here); id != EdgeId::kNone; id = arena_.at<Edge>(id).next_out) {
      ++steps_;
      const Edge& edge = arena_.at<Edge>(id);
      Class& there = arena_.at<Class>(edge.to);
      if (there.mark == mark || is_void(edge)) continue;
      there.mark = mark;
      there.parent = index_of(id);
      queue[tail++] = edge.to;
    }
  }
  if (arena_.at<Class>(source).mark != mark) return false;

  unsigned length = 1;
  for (ClassId at = source; at != target; at = arena_.at<Edge>(EdgeId(arena_.at<Class>(at).parent)).from) ++length;
  if (length > kHops) {
    arena_.count(Counter::kSearchGivenUp);
    return false;
  }
  count_ = length;
  hops_[0] = {closing_, WitnessId::kNone};
  unsigned i = length;
  for (ClassId at = source; at != target;) {
    const EdgeId edge{arena_.at<Class>(at).parent};
    hops_[--i] = {edge, WitnessId::kNone};
    at = arena_.at<Edge>(edge).from;
  }
  first_count_ = length <= kMaxHops ? length : 0;
  for (unsigned k = 0; k < first_count_; ++k) first_[k] = hops_[k].edge;
  return true;
}

// Backward from the source: how far each class is from it, so that the walk enters no blind alley.
void Circles::measure() {
  const ClassId source = arena_.at<Edge>(closing_).from;
  near_ = new_mark();
  auto* queue = arena_.words<ClassId>(Table::kSearch);
  uint32_t head = 0;
  uint32_t tail = 0;
  queue[tail++] = source;
  arena_.at<Class>(source).mark = near_;
  arena_.at<Class>(source).parent = 0;
  while (head != tail) {
    const Class& here = arena_.at<Class>(queue[head++]);
    if (here.parent + 1 >= kMaxHops) continue;
    for (EdgeId id = first_in(here); id != EdgeId::kNone; id = arena_.at<Edge>(id).next_in) {
      ++steps_;
      const Edge& edge = arena_.at<Edge>(id);
      Class& there = arena_.at<Class>(edge.from);
      if (there.mark == near_ || is_void(edge)) continue;
      there.mark = near_;
      there.parent = here.parent + 1;
      queue[tail++] = edge.from;
    }
  }
}

bool Circles::is_shortest_again() const {
  if (first_count_ != count_) return false;
  for (unsigned i = 0; i < count_; ++i) {
    if (first_[i] != hops_[i].edge) return false;
  }
  return true;
}

// The next simple path from target to source with exactly limit_ edges, the closing one included.
bool Circles::deeper() {
  const ClassId source = arena_.at<Edge>(closing_).from;
  const ClassId target = arena_.at<Edge>(closing_).to;
  const uint64_t stop_at = steps_ + kMaxSteps;
  for (; limit_ <= kMaxHops; ++limit_, depth_ = 0) {
    if (limit_ < 2) continue;
    if (depth_ == 0) {
      hops_[0] = {closing_, WitnessId::kNone};
      next_[1] = first_out(arena_.at<Class>(target));
      depth_ = 1;
    }
    while (depth_ >= 1) {
      const EdgeId id = next_[depth_];
      if (id == EdgeId::kNone) {
        --depth_;
        continue;
      }
      const Edge& edge = arena_.at<Edge>(id);
      next_[depth_] = edge.next_out;
      if (++steps_ > stop_at) {
        arena_.count(Counter::kSearchGivenUp);
        return false;
      }
      if (is_void(edge)) continue;
      hops_[depth_] = {id, WitnessId::kNone};
      if (depth_ + 1 == limit_) {
        if (edge.to != source) continue;
        count_ = limit_;
        if (is_shortest_again()) continue;
        return true;
      }
      const Class& there = arena_.at<Class>(edge.to);
      if (edge.to == source || there.mark != near_ || depth_ + 1 + there.parent > limit_) continue;
      bool seen = edge.to == target;
      for (unsigned i = 1; i < depth_ && !seen; ++i) seen = arena_.at<Edge>(hops_[i].edge).to == edge.to;
      if (seen) continue;
      ++depth_;
      next_[depth_] = first_out(there);
    }
  }
  return false;
}

}  // namespace causeway::dept
