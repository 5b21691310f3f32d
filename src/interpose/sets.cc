#include "interpose/sets.h"

#include <errno.h>
#include <sys/epoll.h>

#include <atomic>

#include "interpose/bootstrap.h"
#include "interpose/channels.h"
#include "interpose/real.h"

CW_DEFINE_REAL(epoll_create);
CW_DEFINE_REAL(epoll_create1);
CW_DEFINE_REAL(epoll_ctl);

namespace causeway::interpose::sets {

using namespace causeway::dept;
using channels::Part;

namespace {

using channels::kDescriptors;
constexpr unsigned kSets = 1 << 8, kMembers = 8;

// A member: the descriptor + 1 << 32 | Part, as it was when it was added; 0: none. A channel that was closed under that number, and has
// other descriptors still, stays in the set without it.
constexpr uint32_t kNotInput = 1u << 31;  // or not only
constexpr uint64_t member_of(int fd, uint32_t part) { return static_cast<uint64_t>(fd + 1) << 32 | part; }
constexpr bool is_of(uint64_t member, int fd) { return member >> 32 == static_cast<uint64_t>(fd + 1); }
constexpr uint32_t part_of(uint64_t member) { return static_cast<uint32_t>(member); }

struct Set {
  std::atomic<uint32_t> descriptors;  // 0: free
  std::atomic<bool> is_of_several;    // for good
  std::atomic<uint64_t> members[kMembers];
};
constinit Set all[kSets];
constinit std::atomic<uint32_t> used{1};

// What a descriptor is: a set, by its number, or 0; and whether it was ever added to one.
constexpr uint16_t kMember = 1u << 15;
constinit std::atomic<uint16_t> table[kDescriptors];
uint16_t role_of(int fd) { return fd >= 0 && fd < kDescriptors ? table[fd].load(std::memory_order_relaxed) : uint16_t{0}; }

Set* set_of(int fd) {
  const unsigned number = role_of(fd) & (kMember - 1u);
  return number == 0 ? nullptr : &all[number];
}

void empty(Set& set) {
  for (std::atomic<uint64_t>& member : set.members) member.store(0, std::memory_order_relaxed);
  set.is_of_several.store(false, std::memory_order_relaxed);
}

void made(int fd) {
  if (fd >= kDescriptors || !is_own_process()) return;
  for (unsigned i = 1; i < kSets; ++i) {
    uint32_t free = 0;
    if (!all[i].descriptors.compare_exchange_strong(free, 1, std::memory_order_acq_rel)) continue;
    for (uint32_t most = used.load(); most <= i && !used.compare_exchange_weak(most, i + 1);) {
    }
    table[fd].store(static_cast<uint16_t>(i), std::memory_order_relaxed);
    return;
  }
}

// True: it was not in the set.
bool put(Set& set, int fd, uint32_t part) {
  if (fd < 0) return false;
  if (fd >= kDescriptors) {
    set.is_of_several.store(true, std::memory_order_relaxed);
    return false;
  }
  for (std::atomic<uint64_t>& member : set.members) {
    if (!is_of(member.load(std::memory_order_relaxed), fd)) continue;
    member.store(member_of(fd, part), std::memory_order_relaxed);
    return false;
  }
  table[fd].fetch_or(kMember, std::memory_order_relaxed);
  for (std::atomic<uint64_t>& member : set.members) {
    uint64_t none = 0;
    if (member.compare_exchange_strong(none, member_of(fd, part), std::memory_order_relaxed)) return true;
  }
  set.is_of_several.store(true, std::memory_order_relaxed);
  return false;
}

void remove(Set& set, int fd) {
  for (std::atomic<uint64_t>& member : set.members) {
    uint64_t there = member.load(std::memory_order_relaxed);
    if (is_of(there, fd)) member.compare_exchange_strong(there, 0, std::memory_order_relaxed);
  }
}

uint32_t part_for(int fd, uint32_t events) {
  const auto part = static_cast<uint32_t>(channels::part_of(fd));
  return part | ((events & (EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP)) == EPOLLIN ? 0 : kNotInput);
}

// It is a member from before the real call on, since another thread may wait at once, and `event` is looked at after the kernel has:
// until then it counts as something else.
int control(Set& set, int set_fd, int operation, int fd, epoll_event* event) {
  const bool is_new = operation == EPOLL_CTL_ADD && put(set, fd, kNotInput);
  const int result = CW_REAL(epoll_ctl)(set_fd, operation, fd, event);
  if (result != 0) {
    if (is_new && errno != EEXIST) remove(set, fd);
  } else if (operation == EPOLL_CTL_DEL) {
    remove(set, fd);
  } else {
    put(set, fd, part_for(fd, event->events));
  }
  return result;
}

// The last descriptor of a channel's end takes its members with it, by whatever number they came. Of what is not ours there is one. A child
// that was forked meanwhile has them too, and keeps them in the set: of that nothing is known.
void leave_all(int fd) {
  const Part part = channels::part_of(fd);
  const bool is_last = part == Part::kNone || channels::is_last(fd);
  for (uint32_t i = 1; i < used.load(std::memory_order_acquire); ++i) {
    for (std::atomic<uint64_t>& member : all[i].members) {
      uint64_t there = member.load(std::memory_order_relaxed);
      const bool is_orphan = there >> 32 == 0 && there != 0 && (part_of(there) & ~kNotInput) == static_cast<uint32_t>(part);
      if (is_of(there, fd) || (is_orphan && is_last))
        member.compare_exchange_strong(there, is_last ? 0 : part_of(there), std::memory_order_relaxed);
    }
  }
}

}  // namespace

bool is_followed(int fd) { return role_of(fd) != 0; }

void closing(int fd) {
  const uint16_t role = role_of(fd);
  if ((role == 0 && used.load(std::memory_order_relaxed) == 1) || !is_own_process()) return;
  if ((role & kMember) != 0 || channels::is_known(fd)) leave_all(fd);
  if (Set* set = set_of(fd)) {
    if (set->descriptors.load(std::memory_order_acquire) == 1) empty(*set);  // nobody else can name it
    set->descriptors.fetch_sub(1, std::memory_order_acq_rel);
  }
  if (role != 0) table[fd].store(0, std::memory_order_relaxed);
}

void duplicated(int from, int to) {
  if (from == to || !is_own_process()) return;
  closing(to);
  Set* set = set_of(from);
  if (set != nullptr && to < kDescriptors) {
    set->descriptors.fetch_add(1, std::memory_order_acq_rel);
    table[to].store(role_of(from) & (kMember - 1u), std::memory_order_relaxed);
  }
  if ((role_of(from) & kMember) == 0 || channels::is_known(from)) return;
  for (uint32_t i = 1; i < used.load(std::memory_order_acquire); ++i) {
    for (const std::atomic<uint64_t>& member : all[i].members)
      if (is_of(member.load(std::memory_order_relaxed), from)) all[i].is_of_several.store(true, std::memory_order_relaxed);
  }
}

ObjectId only_one(int fd) {
  const Set* set = set_of(fd);
  if (set == nullptr || set->is_of_several.load(std::memory_order_relaxed)) return ObjectId::kNone;
  uint32_t only = 0;
  for (const std::atomic<uint64_t>& each : set->members) {
    const uint64_t member = each.load(std::memory_order_relaxed);
    if (member == 0) continue;
    const uint32_t part = part_of(member);
    if (part == 0 || (part & kNotInput) != 0 || (only != 0 && part != only)) return ObjectId::kNone;
    only = part;
  }
  return channels::incoming(static_cast<Part>(only));
}

}  // namespace causeway::interpose::sets

using namespace causeway::interpose;

CW_INTERPOSE int epoll_create(int size) noexcept {
  const int fd = CW_REAL(epoll_create)(size);
  if (fd >= 0 && tracked()) sets::made(fd);
  return fd;
}

CW_INTERPOSE int epoll_create1(int flags) noexcept {
  const int fd = CW_REAL(epoll_create1)(flags);
  if (fd >= 0 && tracked()) sets::made(fd);
  return fd;
}

// Also where nothing is told to the tracker: the set would have one member less than it has.
CW_INTERPOSE int epoll_ctl(int set, int operation, int fd, epoll_event* event) noexcept {
  if (sets::Set* known = sets::set_of(set)) return sets::control(*known, set, operation, fd, event);
  return CW_REAL(epoll_ctl)(set, operation, fd, event);
}
