#include "dept/waiters.h"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace causeway::dept {

int Waiters::create(uint32_t capacity) {
  const uint64_t bytes = sizeof(List) * capacity + sizeof(Node) * kNodes;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return -ENOMEM;
  lists_ = static_cast<List*>(memory);
  nodes_ = reinterpret_cast<Node*>(lists_ + capacity);
  capacity_ = capacity;
  next_list_ = next_node_ = 1;
  free_list_ = free_node_ = 0;
  return 0;
}

void Waiters::destroy() {
  if (lists_ != nullptr) ::munmap(lists_, sizeof(List) * capacity_ + sizeof(Node) * kNodes);
  lists_ = nullptr;
}

// Sleepers are threads that do not exist here.
void Waiters::after_fork() {
  lock_.reset();
  for (uint32_t i = 1; i < next_list_; ++i) {
    lists_[i].lock.reset();
    lists_[i].first = nullptr;
    lists_[i].last = nullptr;
    lists_[i].past = lists_[i].past_count = 0;
  }
  next_node_ = 1;
  free_node_ = 0;
}

Waiters::List* Waiters::find_or_make(Object& object) {
  if (List* there = find(object)) return there;
  EngineLockGuard hold(lock_);
  if (List* there = find(object)) return there;
  uint32_t index = free_list_;
  if (index != 0) {
    free_list_ = lists_[index].next_free;
    std::memset(static_cast<void*>(&lists_[index]), 0, sizeof(List));
  } else if (next_list_ < capacity_) {
    index = next_list_++;
  } else {
    return nullptr;
  }
  object.waiters.store(index, std::memory_order_release);
  return &lists_[index];
}

bool Waiters::has_sleepers(const Object& object) const {
  List* list = find(object);
  if (list == nullptr) return false;
  EngineLockGuard hold(list->lock);
  return list->first != nullptr;
}

StackId Waiters::requested_at(const Object& object) const {
  List* list = find(object);
  if (list == nullptr) return StackId::kNone;
  EngineLockGuard hold(list->lock);
  return list->last == nullptr ? StackId::kNone : list->first.load(std::memory_order_relaxed)->stack;
}

bool Waiters::is_woken(const Object& object, ThreadId thread) const {
  List* list = find(object);
  if (list == nullptr) return false;
  EngineLockGuard hold(list->lock);
  for (const sleeps::Sleep* sleep = list->first; sleep != nullptr; sleep = sleep->next)
    if (sleep->thread == thread && sleep->is_woken) return true;
  return false;
}

bool Waiters::bury(Object& object) {
  List* list = find(object);
  if (list == nullptr) return true;
  uint32_t past = 0;
  {
    EngineLockGuard hold(list->lock);
    if (list->first != nullptr) return false;
    past = list->past;
    list->past = list->past_count = 0;
  }
  while (past != 0) {
    const uint32_t next = node(past).next;
    give_node(past);
    past = next;
  }
  EngineLockGuard hold(lock_);
  list->next_free = free_list_;
  free_list_ = object.waiters.exchange(0, std::memory_order_relaxed);
  return true;
}

uint32_t Waiters::take_node() {
  EngineLockGuard hold(lock_);
  const uint32_t index = free_node_ != 0 ? free_node_ : next_node_ < kNodes ? next_node_++ : 0;
  if (index != 0 && index == free_node_) free_node_ = nodes_[index].next;
  return index;
}

void Waiters::give_node(uint32_t index) {
  EngineLockGuard hold(lock_);
  nodes_[index].next = free_node_;
  free_node_ = index;
}

void Waiters::settle(Tracker& tracker, ThreadContext* self, ObjectId mutex) {
  uint32_t* link = &self->pending;
  while (*link != 0) {
    const uint32_t index = *link;
    const Node& pending = node(index);
    if (mutex != ObjectId::kNone && pending.mutex != mutex) {
      link = &node(index).next;
      continue;
    }
    *link = pending.next;
    tracker.depend(pending.from, pending.to, pending.witness);
    give_node(index);
  }
}

void Waiters::refuse(Tracker& tracker, ThreadContext* self, ObjectId object, ClassId cls) {
  uint32_t* link = &self->pending;
  while (*link != 0) {
    const uint32_t index = *link;
    Node& pending = node(index);
    if (pending.from != cls || pending.witness.from_object != object) {
      link = &pending.next;
      continue;
    }
    *link = pending.next;
    tracker.arena().count(Counter::kTentativeVoided);
    give_node(index);
  }
}

}  // namespace causeway::dept
