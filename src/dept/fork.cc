// The child of a fork: a copy of what the tracker knew, in an arena of its own, and one thread.
#include <cerrno>
#include <cstring>

#include "dept/dependencies.h"
#include "dept/tracker.h"
#include "dept/waiters.h"

namespace causeway::dept {
namespace {

constexpr uint64_t kPage = 4096;

// Pages that were never touched stay so.
void copy_used(void* to, const void* from, uint64_t bytes) {
  static constexpr char kZeros[kPage] = {};
  for (uint64_t done = 0; done < bytes; done += kPage) {
    const uint64_t length = bytes - done < kPage ? bytes - done : kPage;
    const auto* source = static_cast<const char*>(from) + done;
    if (std::memcmp(source, kZeros, length) != 0) std::memcpy(static_cast<char*>(to) + done, source, length);
  }
}

// What names are made of. Edges, threads and reports stay with the parent, which tells of them itself.
constexpr Table kNames[] = {Table::kString, Table::kStringIndex, Table::kFrame,  Table::kStack, Table::kStackIndex,
                            Table::kModule, Table::kClass,       Table::kClassIndex, Table::kObject};

void copy_names(Arena& to, Arena& from) {
  for (const Table table : kNames) {
    const TableHeader& header = from.table(table);
    // An index is no list: all of it is looked at.
    const bool is_index = table == Table::kStringIndex || table == Table::kStackIndex || table == Table::kClassIndex;
    const uint32_t used = is_index ? header.capacity : from.used(table);
    copy_used(to.words<char>(table), from.words<char>(table), uint64_t{used} * header.stride);
    to.table(table).used.store(header.used.load(std::memory_order_acquire), std::memory_order_relaxed);
  }
  ArenaHeader& header = to.header();
  header.program.store(from.header().program.load(std::memory_order_relaxed), std::memory_order_relaxed);
  header.command.store(from.header().command.load(std::memory_order_relaxed), std::memory_order_relaxed);
  header.now.store(from.header().now.load(std::memory_order_relaxed), std::memory_order_relaxed);
  for (uint32_t i = 1; i < to.used<Class>(); ++i) {
    Class& cls = to.at<Class>(ClassId(i));
    cls.first_out.store(0, std::memory_order_relaxed);
    cls.first_in.store(0, std::memory_order_relaxed);
    cls.enabled_irqs.store(0, std::memory_order_relaxed);
    cls.irq_waits.store(0, std::memory_order_relaxed);
    cls.mark = cls.parent = 0;
  }
  for (uint32_t i = 1; i < to.used<Object>(); ++i) {
    Object& object = to.at<Object>(ObjectId(i));
    object.wgen.store(0, std::memory_order_relaxed);
    object.clock.store(0, std::memory_order_relaxed);
  }
}

bool is_shared(const HeldHere& held) { return (held.place & HeldHere::kNotInTheWay) != 0; }

void swap(Arena& a, Arena& b) {
  alignas(Arena) std::byte other[sizeof(Arena)];
  std::memcpy(other, static_cast<void*>(&a), sizeof(Arena));
  std::memcpy(static_cast<void*>(&a), static_cast<void*>(&b), sizeof(Arena));
  std::memcpy(static_cast<void*>(&b), other, sizeof(Arena));
}

}  // namespace

int Tracker::child_after_fork(int fd) {
  if (!is_on()) return -ENODEV;
  Inside inside;
  Tracker& tracker = get();
  ThreadContext* self = ThreadContext::current_inside();
  Arena fresh;
  if (const int error = fresh.create(fd, tracker.settings_.capacity); error < 0) {
    // To go on in the parent's arena would be to write into its memory.
    detail::is_on.store(false, std::memory_order_relaxed);
    return error;
  }
  copy_names(fresh, tracker.arena_);
  swap(tracker.arena_, fresh);  // the parent's is unmapped at the end
  Arena& arena = tracker.arena_;
  tracker.objects_.lock().reset();
  tracker.threads_lock_.reset();
  tracker.graph_.reset();
  tracker.order_.after_fork();
  tracker.waiters().after_fork();
  tracker.threads_free_.store(0, std::memory_order_relaxed);
  arena.count(Counter::kForks);

  // What the other threads held when this one forked stays locked for ever here. Their contexts are memory of this process, as
  // they were then; the parent's arena has gone on since.
  for (ThreadContext* other = tracker.threads_; other != nullptr; other = other->next_thread) {
    if (other == self) continue;
    for (uint32_t i = 0; i < other->held() && i < kHeldHere; ++i) {
      const ObjectId id = is_shared(other->here(i)) ? ObjectId::kNone : tracker.objects_.find(arena, other->here(i).address());
      if (id != ObjectId::kNone) arena.at<Object>(id).flags.fetch_or(Object::kOrphan, std::memory_order_relaxed);
    }
  }
  // Their memory stays with the child: it is a page or two each, and nobody is left to give it back.
  tracker.threads_ = nullptr;
  if (self == nullptr) return 0;
  const ThreadState& before = *self->state;
  self->next_thread = nullptr;
  ThreadState* state = tracker.adopt(self);
  if (state == nullptr) return -ENOMEM;
  std::memset(static_cast<void*>(self->objects), 0, sizeof self->objects);  // they point into the parent's arena
  std::memset(static_cast<void*>(self->known), 0, sizeof self->known);
  std::memset(static_cast<void*>(self->known_now), 0, sizeof self->known_now);
  // A child that a signal's handler has made goes its own way from there.
  self->irq_depth = 0;
  tracker.new_context(self);
  tracker.refresh_salt(self);
  std::memset(static_cast<void*>(self->seen_by_wake), 0, sizeof self->seen_by_wake);
  // What this thread held: the list in the parent's arena may have changed since, of its addresses there is a copy here.
  uint32_t held = 0;
  for (uint32_t i = 0; i < self->held() && i < kHeldHere; ++i) {
    const ObjectId object = tracker.objects_.find(arena, self->here(i).address());
    if (object == ObjectId::kNone) continue;
    Held entry = before.held_list[i];
    if (entry.object != object) {
      entry = {};
      entry.object = object;
      entry.event = is_shared(self->here(i)) && (arena.at<Object>(object).flags.load() & Object::kReaderLock) != 0 ? Event::kRead : Event::kWrite;
      entry.flags = is_shared(self->here(i)) ? Held::kShared : 0;
      entry.depth = 1;
      entry.cls = tracker.class_of(object, entry.event);
      entry.chain = self->here(i).chain;
    }
    self->here(held) = self->here(i);
    self->here(held).place |= HeldHere::kSlowly;  // the C library knows of another owner
    state->held_list[held++] = entry;
  }
  *self->top = held;
  state->set_held(held);
  return 0;
}

}  // namespace causeway::dept
