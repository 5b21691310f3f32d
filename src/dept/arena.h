// The memory of a tracker: one file of fixed size, full of holes, with one table for each kind of record.
//
//   Arena arena;
//   if (!arena.create(fd, {})) ...                    // fd -1: anonymous memory
//   StringId name = arena.intern("mm.zone");
//   if (Edge* edge = arena.add<Edge>(&id)) ...        // nullptr: the table is full; counted in dropped<Edge>()
//
// Tables only grow, and touch memory only as far as they are used. Offsets and ids, no pointers: another process may map
// the file while it is written (src/findings). No allocation, no lock but the one of the string and stack tables,
// no libc beyond mmap: it lives in strangers' programs.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "dept/engine_lock.h"
#include "dept/records.h"

namespace causeway::dept {

struct Clock;  // dept/order.h

enum class Table : uint8_t {
  kClass, kObject, kEdge, kWitness, kThread, kThreadState, kStack, kFrame, kString, kModule, kReport, kClock, kWaiters,
  // How the tracker itself finds its way: in its own memory, not in the file.
  kStringIndex, kStackIndex, kClassIndex, kEdgeIndex, kKnown, kPair, kPairIndex, kReportIndex, kSearch,
  kCount,
};

// Bytes of one record of kWaiters, whatever dept/sleeps.cc lays into it.
inline constexpr uint32_t kWaitersStride = 256;

struct TableHeader {
  uint64_t offset;
  uint32_t stride;
  uint32_t capacity;                // records; bytes for kString, words of 8 bytes for kFrame and kClock
  std::atomic<uint32_t> used;       // the next free one; starts at 1
  std::atomic<uint32_t> dropped;    // asked for when it was full
  uint64_t unused;
};
static_assert(sizeof(TableHeader) == 32);

inline constexpr uint64_t kArenaMagic = 0x3154504544575743;  // "CWWDEPT1"

struct ArenaHeader {
  uint64_t magic;
  uint32_t version;                      // kLayoutVersion
  int32_t pid;
  int32_t parent_pid;
  uint32_t flags;                        // of Settings, for who reads
  uint64_t size;
  uint64_t started_ns;                   // CLOCK_MONOTONIC
  std::atomic<uint64_t> ended_ns;        // the process has said goodbye
  std::atomic<uint32_t> program;         // StringId: path of the executable
  std::atomic<uint32_t> command;         // StringId: its arguments, separated by spaces
  std::atomic<uint32_t> reports;         // sequence of the newest report; futex for who waits for one
  std::atomic<uint32_t> stopped;         // the tracker has stopped, StringId why
  std::atomic<uint64_t> counters[32];    // Counter
  TableHeader tables[static_cast<unsigned>(Table::kCount)];
  alignas(64) std::atomic<uint32_t> now; // the generation of requests, wgen: advances with each, and when something known ends; never 0
};
static_assert(sizeof(ArenaHeader) <= 4096);

// What happened how often; shown by --stats, never silently lost.
enum class Counter : uint8_t {
  kLocks, kWaits, kEventsSeen, kEventsNobodyAsked, kSearches, kSearchSteps, kReports, kHeldOverflow, kRingTooSmall,
  kUnwinds, kRawFutex, kForks, kObjectsDied, kTentativeVoided, kSearchGivenUp, kThreadsWithoutState,
  kCount,
};
const char* name_of(Counter counter);

template <typename T> struct TableOf;
template <> struct TableOf<Class> { static constexpr Table kTable = Table::kClass; using Id = ClassId; };
template <> struct TableOf<Object> { static constexpr Table kTable = Table::kObject; using Id = ObjectId; };
template <> struct TableOf<Edge> { static constexpr Table kTable = Table::kEdge; using Id = EdgeId; };
template <> struct TableOf<Witness> { static constexpr Table kTable = Table::kWitness; using Id = WitnessId; };
template <> struct TableOf<Thread> { static constexpr Table kTable = Table::kThread; using Id = ThreadId; };
template <> struct TableOf<ThreadState> { static constexpr Table kTable = Table::kThreadState; using Id = StateId; };
template <> struct TableOf<Stack> { static constexpr Table kTable = Table::kStack; using Id = StackId; };
template <> struct TableOf<Module> { static constexpr Table kTable = Table::kModule; using Id = ModuleId; };
template <> struct TableOf<Report> { static constexpr Table kTable = Table::kReport; using Id = ReportId; };

class Arena {
 public:
  // Powers of two. The defaults take about 1 GiB of address space and next to no memory.
  struct Capacity {
    uint32_t classes = 1u << 16, objects = 1u << 20, edges = 1u << 18, witnesses = 1u << 19, threads = 1u << 16,
             thread_states = 1u << 12, stacks = 1u << 17, frames = 1u << 21, string_bytes = 1u << 24, modules = 1u << 12,
             reports = 1u << 12, clock_words = 1u << 22, waiters = 1u << 16;
  };

  // 0 or a negative errno. The file is truncated to its size first. It belongs into a tmpfs: elsewhere a lock may wait for a disk.
  int create(int fd, const Capacity& capacity);
  // An arena that another process or run has written, or still writes, read-only. -EINVAL: it is none, or damaged: every table lies
  // within the file. Ids that are read from it are not to be trusted; at() of kNone or of one beyond its table is all zeros. Who
  // truncates the file meanwhile kills who reads it.
  int open(int fd);
  void close();
  ~Arena() { close(); }
  constexpr Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  bool is_open() const { return base_ != nullptr; }

  ArenaHeader& header() { return *reinterpret_cast<ArenaHeader*>(base_); }
  const ArenaHeader& header() const { return *reinterpret_cast<const ArenaHeader*>(base_); }

  template <typename T>
  T& at(typename TableOf<T>::Id id) {
    return *static_cast<T*>(record(TableOf<T>::kTable, index_of(id)));
  }
  template <typename T>
  const T& at(typename TableOf<T>::Id id) const {
    return *static_cast<const T*>(record(TableOf<T>::kTable, index_of(id)));
  }
  // A fresh record, all zeros; nullptr: the table is full. Lock-free.
  template <typename T>
  T* add(typename TableOf<T>::Id* id) {
    const uint32_t index = take(TableOf<T>::kTable, 1);
    *id = typename TableOf<T>::Id(index);
    return index == 0 ? nullptr : static_cast<T*>(record(TableOf<T>::kTable, index));
  }
  // One more than the newest record. The newest ones may not be filled yet: all zeros.
  template <typename T>
  uint32_t used() const {
    return used(TableOf<T>::kTable);
  }
  uint32_t used(Table which) const {
    const uint32_t used = table(which).used.load(std::memory_order_acquire);
    return used < capacity(which) ? used : capacity(which);
  }
  uint32_t capacity(Table which) const { return places_[static_cast<unsigned>(which)].capacity; }
  template <typename T>
  uint32_t dropped() const {
    return table(TableOf<T>::kTable).dropped.load(std::memory_order_relaxed);
  }
  const TableHeader& table(Table which) const { return header().tables[static_cast<unsigned>(which)]; }
  TableHeader& table(Table which) { return header().tables[static_cast<unsigned>(which)]; }
  // The first of `count` consecutive records of any table; 0: full.
  uint32_t take(Table which, uint32_t count);
  void* record(Table which, uint32_t index) {
    const Place& place = places_[static_cast<unsigned>(which)];
    if (index == 0 || index >= place.capacity) return nobody_ != nullptr ? nobody_ : place.base;
    return place.base + uint64_t{index} * place.stride;
  }
  const void* record(Table which, uint32_t index) const { return const_cast<Arena*>(this)->record(which, index); }
  // A whole table of the tracker's own, as words.
  template <typename Word>
  Word* words(Table which) {
    return reinterpret_cast<Word*>(places_[static_cast<unsigned>(which)].base);
  }

  // Equal texts, equal ids. kNone: the empty string, or no room.
  StringId intern(std::string_view text);
  std::string_view text(StringId id) const;  // ends with a zero byte
  StackId intern(const Frame* frames, unsigned depth);
  // The frames of a stack, innermost first; `depth` of none is 0.
  struct Frames { const Frame* frame; unsigned depth; };
  Frames frames(StackId id) const;
  // One level of a stack: a program counter as it is, a line of source by its interned "file:line".
  Frame frame_of(const Site& site);
  // What was loaded there last; nullptr: nothing.
  const Module* module_at(uint64_t address) const;

  void count(Counter counter, uint64_t n = 1) {
    header().counters[static_cast<unsigned>(counter)].fetch_add(n, std::memory_order_relaxed);
  }
  uint64_t counted(Counter counter) const {
    return header().counters[static_cast<unsigned>(counter)].load(std::memory_order_relaxed);
  }
  // Bytes of all tables that have been touched, about.
  uint64_t memory_used() const;

 private:
  // As checked when it was opened: what the file says later cannot move a table.
  struct Place {
    std::byte* base = nullptr;
    uint32_t stride = 0;
    uint32_t capacity = 0;
  };

  std::byte* base_ = nullptr;
  uint64_t size_ = 0;
  std::byte* nobody_ = nullptr;  // record 0 of every table of an arena that is only read
  Place places_[static_cast<unsigned>(Table::kCount)];
  EngineLock interning_;
};

}  // namespace causeway::dept
