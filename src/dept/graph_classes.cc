// Which class a key is: found without a lock, made under the graph's.
#include "dept/graph.h"
#include "dept/hash.h"

namespace causeway::dept {
namespace {

// In the place of a class that was forgotten: no class has this id, and so no key.
constexpr uint32_t kForgotten = UINT32_MAX;

}  // namespace

// Where in the index the class is, or would be. The table is twice as large as there may be classes: it always has an empty place.
std::atomic<uint32_t>& Graph::place_of(uint64_t key, uint8_t sub) const {
  auto* places = arena_.words<std::atomic<uint32_t>>(Table::kClassIndex);
  const uint32_t mask = arena_.capacity(Table::kClassIndex) - 1;
  for (uint32_t i = static_cast<uint32_t>(mix(key, sub));; ++i) {
    std::atomic<uint32_t>& place = places[i & mask];
    const uint32_t id = place.load(std::memory_order_acquire);
    if (id == 0) return place;
    if (id == kForgotten) continue;
    const Class& c = arena_.at<Class>(ClassId(id));
    if (c.key == key && c.sub == sub) return place;
  }
}

ClassId Graph::class_of(uint64_t key, uint8_t sub, const ClassDescription& description) {
  if (const uint32_t id = place_of(key, sub).load(std::memory_order_acquire)) return ClassId(id);
  EngineLockGuard hold(lock_);
  std::atomic<uint32_t>& place = place_of(key, sub);
  if (const uint32_t id = place.load(std::memory_order_relaxed)) return ClassId(id);
  ClassId id;
  Class* c = arena_.add<Class>(&id);
  if (c == nullptr) return ClassId::kNone;
  c->key = key;
  c->name = description.name;
  c->site = description.site;
  c->flags.store(description.flags, std::memory_order_relaxed);
  c->kind = description.kind;
  c->sub = sub;
  place.store(index_of(id), std::memory_order_release);
  return id;
}

ClassId Graph::class_of(ObjectId object, Event event) {
  Object& o = arena_.at<Object>(object);
  std::atomic<uint32_t>& known = o.classes[static_cast<unsigned>(event)];
  if (const uint32_t id = known.load(std::memory_order_acquire)) return ClassId(id);
  if (object == ObjectId::kNone) return ClassId::kNone;
  const uint64_t key = o.key != 0 ? o.key : mix(kSeed, o.address);
  const ClassId id =
      class_of(key, sub_id(event, o.sub), {.kind = o.kind, .name = o.name, .site = o.birth, .flags = o.class_flags});
  known.store(index_of(id), std::memory_order_release);
  return id;
}

bool Graph::has_class(uint64_t key) const {
  for (unsigned sub = 0; sub < kEvents * kUserSubclasses; ++sub)
    if (place_of(key, static_cast<uint8_t>(sub)).load(std::memory_order_relaxed) != 0) return true;
  return false;
}

void Graph::forget_classes(uint64_t begin, uint64_t size) {
  EngineLockGuard hold(lock_);
  for (uint32_t i = 1; i < arena_.used<Class>(); ++i) {
    const Class& c = arena_.at<Class>(ClassId(i));
    if (c.key - begin >= size) continue;
    std::atomic<uint32_t>& place = place_of(c.key, c.sub);
    if (place.load(std::memory_order_relaxed) == i) place.store(kForgotten, std::memory_order_release);
  }
  for (Comparison& comparison : comparisons_)
    if (comparison.key.load(std::memory_order_relaxed) - begin < size) comparison.compare.store(nullptr, std::memory_order_relaxed);
}

}  // namespace causeway::dept
