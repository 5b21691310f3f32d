#include "dept/arena.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <bit>

#include "base/clock.h"

namespace causeway::dept {

namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPopulated = 16 * kPage;  // of each table of a file on a disk
constexpr unsigned kTables = static_cast<unsigned>(Table::kCount);

struct Shape {
  uint32_t stride;
  uint32_t capacity;
};

// Of each table, for an arena of this capacity. Hash tables have twice the places of what they find.
Shape shape_of(Table which, const Arena::Capacity& c) {
  switch (which) {
    case Table::kClass: return {sizeof(Class), c.classes};
    case Table::kObject: return {sizeof(Object), c.objects};
    case Table::kEdge: return {sizeof(Edge), c.edges};
    case Table::kWitness: return {sizeof(Witness), c.witnesses};
    case Table::kThread: return {sizeof(Thread), c.threads};
    case Table::kThreadState: return {sizeof(ThreadState), c.thread_states};
    case Table::kStack: return {sizeof(Stack), c.stacks};
    case Table::kFrame: return {sizeof(Frame), c.frames};
    case Table::kString: return {1, c.string_bytes};
    case Table::kModule: return {sizeof(Module), c.modules};
    case Table::kReport: return {sizeof(Report), c.reports};
    case Table::kClock: return {8, c.clock_words};
    case Table::kWaiters: return {kWaitersStride, c.waiters};
    case Table::kStringIndex: return {4, c.string_bytes / 8};
    case Table::kStackIndex: return {4, c.stacks * 2};
    case Table::kClassIndex: return {4, c.classes * 2};
    case Table::kEdgeIndex: return {4, c.edges * 2};
    case Table::kKnown: return {8, c.witnesses * 2};
    case Table::kPair: return {16, c.witnesses};
    case Table::kPairIndex: return {4, c.witnesses};
    case Table::kReportIndex: return {4, c.reports * 2};
    case Table::kSearch: return {8, c.classes};
    case Table::kCount: break;
  }
  return {0, 0};
}

// From here on tables are the tracker's own memory, never the file's: a new page of a file on a disk can take milliseconds, and hash
// tables touch a new one with every entry.
constexpr unsigned kFirstOwn = static_cast<unsigned>(Table::kStringIndex);

constexpr uint64_t round_up(uint64_t bytes) { return (bytes + kPage - 1) & ~(kPage - 1); }

// So that the first locks of a program do not wait for a disk to find blocks.
void populate(int fd, std::byte* begin, uint64_t bytes) {
#ifdef MADV_POPULATE_WRITE
  constexpr long kTmpfs = 0x01021994;
  struct statfs where;
  if (fstatfs(fd, &where) == 0 && where.f_type != kTmpfs) madvise(begin, bytes, MADV_POPULATE_WRITE);
#else
  static_cast<void>(fd), static_cast<void>(begin), static_cast<void>(bytes);
#endif
}

bool is_capacity(uint32_t n) { return n >= 16 && std::has_single_bit(n); }

}  // namespace

int Arena::create(int fd, const Capacity& capacity) {
  if (is_open()) return -EBUSY;
  uint64_t size = kPage;
  uint64_t file_size = 0;
  for (unsigned i = 0; i < kTables; ++i) {
    const Shape shape = shape_of(Table(i), capacity);
    if (!is_capacity(shape.capacity)) return -EINVAL;
    if (i == kFirstOwn) file_size = size;
    size += round_up(uint64_t{shape.stride} * shape.capacity);
  }
  // To nothing first: what an older run left behind there would not be zeros.
  if (fd >= 0 && (ftruncate(fd, 0) != 0 || ftruncate(fd, static_cast<off_t>(file_size)) != 0)) return -errno;
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return -errno;
  if (fd >= 0 && mmap(base, file_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const int error = errno;
    munmap(base, size);
    return -error;
  }
  madvise(base, size, MADV_RANDOM);  // touched here and there: reading ahead in a file full of holes fills memory with zeros
  // A huge page for each place that a hash table touches would be real memory.
  madvise(base, size, MADV_NOHUGEPAGE);

  base_ = static_cast<std::byte*>(base);
  size_ = size;
  nobody_ = nullptr;
  interning_.reset();
  uint64_t offset = kPage;
  for (unsigned i = 0; i < kTables; ++i) {
    const Shape shape = shape_of(Table(i), capacity);
    TableHeader& table = header().tables[i];
    table.offset = offset;
    table.stride = shape.stride;
    table.capacity = shape.capacity;
    table.used.store(1, std::memory_order_relaxed);
    places_[i] = {base_ + offset, shape.stride, shape.capacity};
    const uint64_t bytes = round_up(uint64_t{shape.stride} * shape.capacity);
    if (fd >= 0 && i < kFirstOwn) populate(fd, base_ + offset, bytes < kPopulated ? bytes : kPopulated);
    offset += bytes;
  }
  header().version = kLayoutVersion;
  header().pid = getpid();
  header().parent_pid = getppid();
  header().size = file_size;
  header().started_ns = monotonic_ns();
  header().now.store(1, std::memory_order_relaxed);
  // Last: who opens it while we are here sees none yet.
  std::atomic_ref<uint64_t>(header().magic).store(kArenaMagic, std::memory_order_release);
  return 0;
}

int Arena::open(int fd) {
  if (is_open()) return -EBUSY;
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  const uint64_t size = static_cast<uint64_t>(status.st_size);
  if (status.st_size < 0 || size < kPage) return -EINVAL;
  void* base = mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return -errno;
  // As large as the largest record of any table.
  constexpr uint64_t kNobody = round_up(sizeof(ThreadState));
  void* nobody = mmap(nullptr, kNobody, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (nobody == MAP_FAILED) {
    munmap(base, size);
    return -ENOMEM;
  }
  base_ = static_cast<std::byte*>(base);
  size_ = size;
  nobody_ = static_cast<std::byte*>(nobody);

  const Capacity any;
  const ArenaHeader& header = this->header();
  bool good = std::atomic_ref<uint64_t>(const_cast<uint64_t&>(header.magic)).load(std::memory_order_acquire) == kArenaMagic &&
              header.version == kLayoutVersion && header.size == size;
  for (unsigned i = 0; i < kFirstOwn && good; ++i) {
    // Read once: the file may change under our hands.
    const TableHeader& table = header.tables[i];
    const uint64_t offset = *const_cast<const volatile uint64_t*>(&table.offset);
    const uint32_t stride = *const_cast<const volatile uint32_t*>(&table.stride);
    const uint32_t capacity = *const_cast<const volatile uint32_t*>(&table.capacity);
    good = stride == shape_of(Table(i), any).stride && is_capacity(capacity) && offset % kPage == 0 && offset >= kPage &&
           offset <= size && uint64_t{stride} * capacity <= size - offset;
    if (good) places_[i] = {base_ + offset, stride, capacity};
  }
  if (good) return 0;
  close();
  return -EINVAL;
}

void Arena::close() {
  if (!is_open()) return;
  munmap(base_, size_);
  if (nobody_ != nullptr) munmap(nobody_, round_up(sizeof(ThreadState)));
  base_ = nullptr;
  nobody_ = nullptr;
  size_ = 0;
  for (Place& place : places_) place = {};
}

uint32_t Arena::take(Table which, uint32_t count) {
  TableHeader& header = table(which);
  uint32_t used = header.used.load(std::memory_order_relaxed);
  do {
    if (count > capacity(which) - used) {
      header.dropped.fetch_add(1, std::memory_order_relaxed);
      return 0;
    }
  } while (!header.used.compare_exchange_weak(used, used + count, std::memory_order_acq_rel, std::memory_order_relaxed));
  return used;
}

const Module* Arena::module_at(uint64_t address) const {
  for (uint32_t i = used<Module>(); i-- > 1;) {
    const Module& module = at<Module>(ModuleId(i));
    const uint64_t end = std::atomic_ref(const_cast<uint64_t&>(module.end)).load(std::memory_order_acquire);
    if (address >= module.begin && address < end) return &module;
  }
  return nullptr;
}

uint64_t Arena::memory_used() const {
  uint64_t bytes = kPage;
  for (unsigned i = 0; i < kFirstOwn; ++i) {
    bytes += round_up(uint64_t{places_[i].stride} * used(Table(i)));
  }
  // Entries of hash tables lie anywhere: at worst each in a page of its own.
  const struct {
    Table index;
    Table of;
  } indexes[] = {{Table::kStackIndex, Table::kStack}, {Table::kClassIndex, Table::kClass}, {Table::kEdgeIndex, Table::kEdge},
                 {Table::kKnown, Table::kWitness},    {Table::kReportIndex, Table::kReport}};
  for (const auto& index : indexes) {
    const TableHeader& size = table(index.index);
    const uint64_t whole = uint64_t{size.stride} * size.capacity;
    const uint64_t touched = uint64_t{used(index.of) - 1} * kPage;
    bytes += touched < whole ? touched : whole;
  }
  return bytes;
}

const char* name_of(Counter counter) {
  switch (counter) {
    case Counter::kLocks: return "locks";
    case Counter::kWaits: return "waits";
    case Counter::kEventsSeen: return "events";
    case Counter::kEventsNobodyAsked: return "events nobody asked for";
    case Counter::kSearches: return "searches";
    case Counter::kSearchSteps: return "search steps";
    case Counter::kReports: return "reports";
    case Counter::kHeldOverflow: return "locks held beyond the list";
    case Counter::kRingTooSmall: return "windows older than the ring";
    case Counter::kUnwinds: return "unwinds";
    case Counter::kRawFutex: return "futex calls by hand";
    case Counter::kForks: return "forks";
    case Counter::kObjectsDied: return "objects that died";
    case Counter::kTentativeVoided: return "tentative witnesses taken back";
    case Counter::kSearchGivenUp: return "searches given up";
    case Counter::kThreadsWithoutState: return "threads without state";
    case Counter::kCount: break;
  }
  return "?";
}

}  // namespace causeway::dept
