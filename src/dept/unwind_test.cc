// The walk frame by frame against libgcc's, and the rule of random places against what libgcc makes of the same
// place: a signal handler puts the place and a stack of known content into its context and lets libgcc unwind that.
#include "dept/unwind.h"

#include <alloca.h>
#include <dlfcn.h>
#include <gtest/gtest.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "dept/cfi.h"
#include "dept/rule_cache.h"

// Of libgcc, in no header.
extern "C" {
struct dwarf_eh_bases {
  void* text;
  void* data;
  void* function;
};
const void* _Unwind_Find_FDE(void* pc, dwarf_eh_bases* bases);
}

namespace causeway::dept {
namespace {

constexpr unsigned kMost = 256;

struct Pcs {
  uintptr_t pc[kMost];
  unsigned count = 0;
};

_Unwind_Reason_Code add_pc(_Unwind_Context* context, void* argument) {
  Pcs& pcs = *static_cast<Pcs*>(argument);
  int is_exact = 0;
  const uintptr_t pc = _Unwind_GetIPInfo(context, &is_exact);
  if (pc != 0 && pcs.count < kMost) pcs.pc[pcs.count++] = pc + (is_exact != 0 ? 1 : 0);
  return _URC_NO_REASON;
}

std::atomic<int> compared{0};
std::atomic<int> differed{0};
std::atomic<unsigned> deepest{0};

std::string name_of(uintptr_t pc) {
  char text[300];
  Dl_info info{};
  dladdr(reinterpret_cast<void*>(pc), &info);
  snprintf(text, sizeof text, "%#lx %s+%#lx %s", pc, info.dli_fname != nullptr ? info.dli_fname : "?",
           pc - reinterpret_cast<uintptr_t>(info.dli_fbase), info.dli_sname != nullptr ? info.dli_sname : "?");
  return text;
}

// Called in the middle of everything below. Async-signal-safe as long as both agree.
[[gnu::noinline]] void compare() {
  Frame ours[kMost];
  const unsigned depth = unwind(ours, kMost, 0);
  Pcs theirs;
  _Unwind_Backtrace(add_pc, &theirs);
  ++compared;
  deepest = std::max(deepest.load(), depth);
  bool same = theirs.count == std::min(depth + 1, kMost);
  for (unsigned i = 0; same && i < theirs.count - 1; ++i) same = ours[i].pc() == theirs.pc[i + 1];
  if (same) return;
  if (differed++ > 3) return;
  for (unsigned i = 0; i < std::max(depth, theirs.count); ++i) {
    fprintf(stderr, "#%u ours %s, theirs %s\n", i, i < depth ? name_of(ours[i].pc()).c_str() : "-",
            i + 1 < theirs.count ? name_of(theirs.pc[i + 1]).c_str() : "-");
  }
}

#if defined(__GNUC__) && !defined(__clang__)
#define CW_BUILT_AS(options) __attribute__((optimize(options), noinline))
#else
#define CW_BUILT_AS(options) __attribute__((noinline))
#endif

thread_local volatile int sink;

CW_BUILT_AS("O2,omit-frame-pointer") int without_frame_pointer(int n) {
  compare();
  const int below = n == 0 ? 0 : without_frame_pointer(n - 1);
  sink = below;  // no loop is to be made of this
  compare();
  return below + sink;
}
CW_BUILT_AS("O0") int unoptimised(int n) {
  compare();
  return n == 0 ? without_frame_pointer(2) : unoptimised(n - 1) + 1;
}
CW_BUILT_AS("O2,omit-frame-pointer") int variable_frame(int n) {
  char* room = static_cast<char*>(alloca(static_cast<size_t>(n % 7 * 100 + 1)));
  room[0] = static_cast<char>(n);
  sink = room[0];
  compare();
  return n == 0 ? unoptimised(3) : variable_frame(n - 1) + room[0];
}
CW_BUILT_AS("O2,omit-frame-pointer") int realigned(int n) {
  alignas(64) char room[128];
  room[n] = 1;
  sink = room[n];
  compare();
  return n == 0 ? variable_frame(4) : realigned(n - 1) + room[n];
}
CW_BUILT_AS("O2,omit-frame-pointer") int realigned_and_variable(int n) {
  alignas(64) char room[64];
  char* more = static_cast<char*>(alloca(static_cast<size_t>(n * 50 + 1)));
  room[n] = more[0] = 1;
  sink = room[n] + more[0];
  compare();
  return n == 0 ? realigned(3) : realigned_and_variable(n - 1) + room[n];
}
CW_BUILT_AS("O2,omit-frame-pointer") int large_frame(int n) {
  volatile char room[200000];
  room[n] = 1;
  compare();
  return n == 0 ? realigned_and_variable(2) : large_frame(n - 1) + room[n];
}

struct Base {
  virtual ~Base() = default;
  virtual int call(int n) = 0;
};
struct Derived : Base {
  int call(int n) override {
    compare();
    return n == 0 ? large_frame(2) : call(n - 1) + 1;
  }
};

int compare_ints(const void* a, const void* b) {
  compare();
  return *static_cast<const int*>(a) - *static_cast<const int*>(b);
}

void many_paths() {
  Derived derived;
  Base* base = &derived;
  base->call(3);
  std::function<int(int)> self = [&](int n) {
    compare();
    return n == 0 ? base->call(1) : self(n - 1);
  };
  self(5);
  std::vector<int> numbers(60);
  std::minstd_rand random(1);
  for (int& number : numbers) number = static_cast<int>(random());
  std::sort(numbers.begin(), numbers.end(), [](int a, int b) {
    compare();
    return a < b;
  });
  std::shuffle(numbers.begin(), numbers.end(), random);
  qsort(numbers.data(), numbers.size(), sizeof(int), compare_ints);  // through the .plt and libc
  std::shuffle(numbers.begin(), numbers.end(), random);
  bsearch(&numbers[0], numbers.data(), numbers.size(), sizeof(int), compare_ints);
  try {
    struct Thrower {
      ~Thrower() { compare(); }  // called by the landing pad
    } thrower;
    throw 1;
  } catch (int) { compare(); }
}

struct UnwindTest : testing::Test {
  void SetUp() override {
    compared = differed = 0;
    deepest = 0;
  }
  void TearDown() override {
    EXPECT_GT(compared, 0);
    EXPECT_EQ(differed, 0);
  }
};

TEST_F(UnwindTest, AgreesWithLibgccOnManyPaths) {
  many_paths();
  EXPECT_GT(compared, 300);
  EXPECT_GT(deepest, 15u);
}

TEST_F(UnwindTest, AgreesDeepInRecursion) {
  without_frame_pointer(300);  // more than kMost: both are cut off there
  EXPECT_EQ(deepest, kMost);
}

TEST_F(UnwindTest, AgreesInThreads) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([] {
      for (int n = 0; n < 10; ++n) many_paths();
    });
  for (auto& thread : threads) thread.join();
}

TEST_F(UnwindTest, AgreesInAThreadOnAStackOfItsOwn) {
  constexpr size_t kSize = 1 << 23;  // ThreadSanitizer keeps much of its own there
  void* stack = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, kSize);
  pthread_t thread;
  ASSERT_EQ(pthread_create(
                &thread, &attributes,
                [](void*) -> void* {
                  many_paths();
                  return nullptr;
                },
                nullptr),
            0);
  pthread_join(thread, nullptr);
  munmap(stack, kSize);
}

TEST_F(UnwindTest, AgreesOnceHandlersHaveMovedToCoroutines) {
  static ucontext_t main_context, other;
  std::vector<char> stack(1 << 20);
  for (int i = 0; i < 3; ++i) {
    getcontext(&other);
    other.uc_stack.ss_sp = stack.data();
    other.uc_stack.ss_size = stack.size();
    other.uc_link = &main_context;
    makecontext(&other, many_paths, 0);
    swapcontext(&main_context, &other);
    many_paths();
  }
}

void handler(int) {
  compare();
}

TEST_F(UnwindTest, AgreesInASignalHandler) {
  for (const bool alternate : {false, true}) {
    std::vector<char> memory(1 << 17);
    stack_t stack{memory.data(), 0, memory.size()}, none{nullptr, SS_DISABLE, 0};
    if (alternate) sigaltstack(&stack, nullptr);
    struct sigaction action {
    }, old;
    action.sa_handler = handler;
    action.sa_flags = alternate ? SA_ONSTACK : 0;
    sigaction(SIGUSR1, &action, &old);
    raise(SIGUSR1);  // interrupts libc, just behind a system call
    std::vector<int> numbers(20, 1);
    std::sort(numbers.begin(), numbers.end(), [](int a, int b) {
      raise(SIGUSR1);
      return a < b;
    });
    if (alternate) sigaltstack(&none, nullptr);
    sigaction(SIGUSR1, &old, nullptr);
  }
}

// Anywhere: in prologues, in the middle of libc, of the unwinders themselves. They agree, or ours is cut short by a rule
// it does not have: that is counted, and rare.
std::atomic<int> interrupted{0}, shorter{0}, wrong{0};
void interrupt(int) {
  Frame ours[kMost];
  const unsigned depth = unwind(ours, kMost, 0);
  Pcs theirs;
  _Unwind_Backtrace(add_pc, &theirs);
  ++interrupted;
  if (depth + 1 < theirs.count) ++shorter;
  for (unsigned i = 0; i < std::min(depth, theirs.count - 1); ++i) {
    if (ours[i].pc() != theirs.pc[i + 1]) {
      ++wrong;
      break;
    }
  }
}

TEST(UnwindSignalTest, AgreesWhereverATimerInterrupts) {
  Frame warm[kMost];
  unwind(warm, kMost, 0);
  struct sigaction action {
  }, old;
  action.sa_handler = interrupt;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, &old);
  timer_t timer;
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGPROF;
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
  itimerspec every{{0, 200'000}, {0, 200'000}};
  timer_settime(timer, 0, &every, nullptr);
  compared = differed = 0;
  for (int n = 0; n < 60 || interrupted < 500; ++n) many_paths();
  timer_delete(timer);
  sigaction(SIGPROF, &old, nullptr);
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(shorter, interrupted / 50);
  EXPECT_EQ(differed, 0);
}

[[gnu::noinline]] unsigned first_frames(Frame* frames, unsigned max, unsigned skip) {
  const unsigned depth = unwind(frames, max, skip);
  sink = 0;
  return depth;
}
TEST(UnwindInterfaceTest, SkipsAndStopsWhereItIsTold) {
  Frame all[8], some[8];
  unsigned depth[2];
  for (unsigned skip : {0u, 2u}) depth[skip / 2] = first_frames(skip == 0 ? all : some, skip == 0 ? 8 : 3, skip);
  ASSERT_EQ(depth[0], 8u);
  ASSERT_EQ(depth[1], 3u);
  EXPECT_EQ(some[0], all[2]);
  EXPECT_EQ(some[2], all[4]);
}

[[gnu::noinline]] unsigned deep_inside(int n, Frame* frames, uintptr_t site) {
  const unsigned depth = n == 0 ? unwind_from(frames, 8, site) : deep_inside(n - 1, frames, site);
  sink = n;
  return depth;
}
[[gnu::noinline]] unsigned wrapper(int n, Frame* frames, uintptr_t* site) {
  *site = reinterpret_cast<uintptr_t>(__builtin_return_address(0));
  const unsigned depth = deep_inside(n, frames, *site);
  sink = n;
  return depth;
}
TEST(UnwindInterfaceTest, BeginsAtTheCallerOfAWrapper) {
  for (int n : {0, 1, 5}) {
    Frame frames[8];
    uintptr_t site;
    ASSERT_EQ(wrapper(n, frames, &site), 8u);
    EXPECT_EQ(frames[0].pc(), site) << n;
  }
  Frame frames[8];
  EXPECT_EQ(deep_inside(0, frames, 1), 8u) << "a site that is not there: everything";
}

TEST(UnwindInterfaceTest, GarbageIsNotFollowed) {
  // A frame whose saved rbp and return address are nonsense: the walk ends, whatever they are.
  std::minstd_rand random(7);
  for (int i = 0; i < 200; ++i) {
    Frame frames[kMost];
    uintptr_t* frame = static_cast<uintptr_t*>(__builtin_frame_address(0));
    const uintptr_t saved = frame[0];
    frame[0] = i % 2 == 0 ? random() * uint64_t{8} : uint64_t{random()} << 20 | random();
    const unsigned depth = unwind(frames, kMost, 0);
    frame[0] = saved;
    EXPECT_LT(depth, kMost);
  }
}

#if defined(__x86_64__)

// --- one place against libgcc

constexpr size_t kWords = 1 << 17;  // 1 MiB each
uintptr_t* place_stack;  // each word holds the address of the same word of place_other, and the other way round
uintptr_t* place_other;

struct Step {
  uintptr_t pc, cfa, bp;
  unsigned seen;  // frames behind the signal frame
};
struct Place {
  uintptr_t pc, sp, bp;
  bool after_signal;
  Step result;
};
Place place;

_Unwind_Reason_Code follow(_Unwind_Context* context, void*) {
  int is_exact = 0;
  const uintptr_t pc = _Unwind_GetIPInfo(context, &is_exact);
  if (!place.after_signal) {
    place.after_signal = is_exact != 0 && pc == place.pc;
    return _URC_NO_REASON;
  }
  place.result = {pc, _Unwind_GetCFA(context), _Unwind_GetGR(context, 6), 1};
  return _URC_END_OF_STACK;
}

void at_place(int, siginfo_t*, void* raw) {
  auto& registers = static_cast<ucontext_t*>(raw)->uc_mcontext.gregs;
  const greg_t pc = registers[REG_RIP], sp = registers[REG_RSP], bp = registers[REG_RBP];
  registers[REG_RIP] = static_cast<greg_t>(place.pc);
  registers[REG_RSP] = static_cast<greg_t>(place.sp);
  registers[REG_RBP] = static_cast<greg_t>(place.bp);
  place.after_signal = false;
  place.result = {};
  _Unwind_Backtrace(follow, nullptr);
  registers[REG_RIP] = pc;
  registers[REG_RSP] = sp;
  registers[REG_RBP] = bp;
}

uintptr_t word_at(uintptr_t address) {
  return *reinterpret_cast<uintptr_t*>(address);
}

// Whether `rule` does with the place's registers what libgcc did.
bool agrees(UnwindRule rule) {
  uintptr_t cfa = static_cast<uintptr_t>(rule.cfa_offset());
  switch (rule.cfa()) {
    case UnwindRule::Cfa::kFromSp: cfa += place.sp; break;
    case UnwindRule::Cfa::kFromBp: cfa += place.bp; break;
    case UnwindRule::Cfa::kDerefSp: cfa = word_at(cfa + place.sp) + static_cast<uintptr_t>(rule.cfa_addend()); break;
    case UnwindRule::Cfa::kDerefBp: cfa = word_at(cfa + place.bp) + static_cast<uintptr_t>(rule.cfa_addend()); break;
    default: return false;
  }
  uintptr_t bp = place.bp;
  if (rule.bp() == UnwindRule::Bp::kAtCfa) bp = word_at(cfa + static_cast<uintptr_t>(rule.bp_offset()));
  if (rule.bp() == UnwindRule::Bp::kAtBp) bp = word_at(place.bp + static_cast<uintptr_t>(rule.bp_offset()));
  return place.result.cfa == cfa && place.result.pc == word_at(cfa - 8) &&
         (place.result.bp == bp || rule.bp() == UnwindRule::Bp::kLost);
}

struct Text {
  std::string name;
  uintptr_t begin, end;
};
std::vector<Text> texts() {
  std::vector<Text> found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* argument) {
        for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
          const auto& header = info->dlpi_phdr[i];
          if (header.p_type != PT_LOAD || (header.p_flags & PF_X) == 0) continue;
          static_cast<std::vector<Text>*>(argument)->push_back(
              {info->dlpi_name, info->dlpi_addr + header.p_vaddr, info->dlpi_addr + header.p_vaddr + header.p_memsz});
        }
        return 0;
      },
      &found);
  return found;
}

TEST(UnwindRuleTest, IsWhatLibgccMakesOfRandomPlaces) {
  dlopen("libcrypto.so.3", RTLD_NOW);  // hand-written code with strange frames, if it is there
  const auto map = [] {
    return static_cast<uintptr_t*>(mmap(nullptr, kWords * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  };
  place_stack = map();
  place_other = map();
  for (size_t i = 0; i < kWords; ++i) {
    place_stack[i] = reinterpret_cast<uintptr_t>(&place_other[i]);
    place_other[i] = reinterpret_cast<uintptr_t>(&place_stack[i]);
  }
  struct sigaction action {
  }, old;
  action.sa_sigaction = at_place;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGUSR2, &action, &old);

  std::minstd_rand random(3);
  for (const Text& text : texts()) {
    int places = 0, no_function = 0, no_rule = 0, stops = 0, bad = 0;
    for (int i = 0; i < 8000; ++i) {
      place.pc = text.begin + (uint64_t{random()} << 16 ^ random()) % (text.end - text.begin);
      place.sp = reinterpret_cast<uintptr_t>(&place_stack[kWords / 4]);
      place.bp = reinterpret_cast<uintptr_t>(&place_stack[kWords / 2]);
      const UnwindRule rule = find_rule(place.pc);
      if (rule.cfa() == UnwindRule::Cfa::kSignal) continue;
      // A frame larger than the made-up stack would end this test instead.
      if (rule.cfa_offset() > static_cast<int64_t>(kWords) || rule.cfa_offset() < -static_cast<int64_t>(kWords)) continue;
      if (rule == UnwindRule{}) {
        // Through any register, if libgcc follows it at all: only that it is rare is checked.
        dwarf_eh_bases bases;
        ++(_Unwind_Find_FDE(reinterpret_cast<void*>(place.pc), &bases) == nullptr ? no_function : no_rule);
        continue;
      }
      raise(SIGUSR2);
      ++places;
      if (place.result.seen == 0) {
        ++stops;
      } else if (!agrees(rule) && ++bad < 5) {
        ADD_FAILURE() << name_of(place.pc) << " rule " << std::hex << rule.word() << " cfa "
                      << place.result.cfa - place.sp;
      }
    }
    printf("%-45s %d places, %d outside of functions, %d without a rule of ours, %d where libgcc stops, %d wrong\n",
           text.name.c_str(), places, no_function, no_rule, stops, bad);
    EXPECT_EQ(bad, 0) << text.name;
    EXPECT_EQ(stops, 0) << text.name;
    EXPECT_LE(no_rule, places / 5) << text.name;
  }
  sigaction(SIGUSR2, &old, nullptr);
  munmap(place_stack, kWords * 8);
  munmap(place_other, kWords * 8);
}

#endif

TEST(UnwindRuleTest, PackingKeepsEveryNumberOrRefuses) {
  using Cfa = UnwindRule::Cfa;
  using Bp = UnwindRule::Bp;
  for (int64_t offset : {0l, 8l, -8l, 1l, 2147483647l, -2147483648l}) {
    for (int64_t addend : {0, 8, -8, 511, -512}) {
      for (int64_t bp : {0, -16, 16, 262136, -262144}) {
        const UnwindRule rule = UnwindRule::make(Cfa::kDerefBp, offset, addend, Bp::kAtBp, bp);
        EXPECT_EQ(rule.cfa(), Cfa::kDerefBp);
        EXPECT_EQ(rule.bp(), Bp::kAtBp);
        EXPECT_EQ(rule.cfa_offset(), offset);
        EXPECT_EQ(rule.cfa_addend(), addend);
        EXPECT_EQ(rule.bp_offset(), bp);
      }
    }
  }
  EXPECT_EQ(UnwindRule::make(Cfa::kFromSp, 1l << 31, 0, Bp::kSame, 0).cfa(), Cfa::kEnd);
  EXPECT_EQ(UnwindRule::make(Cfa::kDerefSp, 0, 512, Bp::kSame, 0).cfa(), Cfa::kEnd);
  EXPECT_EQ(UnwindRule::make(Cfa::kFromSp, 8, 0, Bp::kAtCfa, 262144).cfa(), Cfa::kEnd);
  EXPECT_EQ(UnwindRule::make(Cfa::kFromSp, 8, 0, Bp::kAtCfa, -12).cfa(), Cfa::kEnd);
}

TEST(RuleCacheTest, FindsWhatWasPutUntilItIsForgotten) {
  auto cache = std::make_unique<RuleCache>();
  const auto rule_for = [](uintptr_t pc) { return UnwindRule::from_word(pc * 3); };
  UnwindRule rule;
  EXPECT_FALSE(cache->find(0x1000, &rule));
  for (int round = 0; round < 3; ++round) {
    int found = 0;
    for (uintptr_t pc = 0x7f0000001000; pc < 0x7f0000001000 + 4000; ++pc) cache->put(pc, rule_for(pc));
    for (uintptr_t pc = 0x7f0000001000; pc < 0x7f0000001000 + 4000; ++pc) {
      if (!cache->find(pc, &rule)) continue;
      ++found;
      EXPECT_EQ(rule, rule_for(pc));
    }
    EXPECT_EQ(found, 4000) << "they fit";
    cache->forget();
    EXPECT_FALSE(cache->find(0x7f0000001000, &rule));
  }
  for (int i = 0; i < (1 << 17) + 10; ++i) {
    if (i % 1000 == 0) cache->put(0x1234, rule_for(0x1234));
    cache->forget();
    ASSERT_FALSE(cache->find(0x1234, &rule)) << i;
  }
}

TEST(RuleCacheTest, NeverMixesTwoWritersEntries) {
  static RuleCache cache;
  std::atomic<bool> stop{false};
  std::atomic<int> mixed{0}, hits{0};
  std::vector<std::thread> threads;
  for (unsigned id = 0; id < 4; ++id) {
    threads.emplace_back([&, id] {
      std::minstd_rand random(id + 1);
      while (!stop) {
        const uintptr_t pc = uint64_t{random() % 16 + 1} << 30;  // all in few sets
        UnwindRule rule;
        if (cache.find(pc, &rule)) {
          ++hits;
          if (rule.word() != (pc ^ 0x55)) ++mixed;
        }
        cache.put(pc, UnwindRule::from_word(pc ^ 0x55));
      }
    });
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  stop = true;
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(mixed, 0);
  EXPECT_GT(hits, 1000);
}

}  // namespace
}  // namespace causeway::dept
