#include "dept/unwind.h"

#include <sys/syscall.h>
#include <ucontext.h>

#include "dept/rule_cache.h"

namespace causeway::dept {
namespace {

constinit RuleCache cache;

// The memory that this thread's stack is known to occupy: reads of anything else are tried by the kernel first. A stack
// that is in use stays mapped; when the thread has moved to another one, the range starts anew. One word, address of the
// first page and number of pages, because a signal handler may come between: what it learns may be lost, never mixed with
// ours.
constinit thread_local uintptr_t known __attribute__((tls_model("initial-exec"))) = 0;

constexpr uintptr_t kPage = 4096;  // and the most pages of a range

#if defined(__x86_64__)
// rt_sigprocmask copies the new mask in before it looks at what is to be done with it: EFAULT or EINVAL, and nothing
// changes.
bool is_readable(uintptr_t address) {
  constexpr long kNoSuchAction = 0x7fffffff;
  long result;
  register long size asm("r10") = 8;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(SYS_rt_sigprocmask), "D"(kNoSuchAction), "S"(address), "d"(0L), "r"(size)
               : "rcx", "r11", "memory");
  return result == -22;
}
#else
bool is_readable(uintptr_t address) {
  constexpr long kNoSuchAction = 0x7fffffff;
  register long number asm("x8") = SYS_rt_sigprocmask;
  register long action asm("x0") = kNoSuchAction;
  register uintptr_t mask asm("x1") = address;
  register long old asm("x2") = 0;
  register long size asm("x3") = 8;
  asm volatile("svc 0" : "+r"(action) : "r"(number), "r"(mask), "r"(old), "r"(size) : "memory");
  return action == -22;
}
#endif

[[gnu::noinline]] bool learn(uintptr_t address) {
  if (address < kPage || address % 8 != 0 || address >> 47 != 0) return false;
  if (!is_readable(address)) return false;
  const uintptr_t page = address & ~(kPage - 1), range = known;
  const uintptr_t begin = range & ~(kPage - 1), pages = range & (kPage - 1);
  const bool extends = pages != 0 && pages != kPage - 1;
  if (extends && page == begin + pages * kPage) {
    known = range + 1;
  } else if (extends && page + kPage == begin) {
    known = page | (pages + 1);
  } else {
    known = page | 1;
  }
  return true;
}

inline bool is_known(uintptr_t address) {
  const uintptr_t range = known;
  return address - (range & ~(kPage - 1)) < (range & (kPage - 1)) * kPage;
}

[[gnu::always_inline]] inline bool read(uintptr_t address, uintptr_t* value) {
  if (__builtin_expect(!is_known(address) || address % 8 != 0, false) && !learn(address)) return false;
  *value = *reinterpret_cast<const uintptr_t*>(address);
  return true;
}

struct Registers {
  uintptr_t pc, sp, bp;
};

#if defined(__x86_64__)

// From a handler's frame, whose caller is the kernel, to what was interrupted. A pc of 0: it cannot be read.
Registers leave_signal(uintptr_t sp) {
  const auto general = [&](int number, uintptr_t* value) {
    const ucontext_t* const context = reinterpret_cast<const ucontext_t*>(sp);
    return read(reinterpret_cast<uintptr_t>(&context->uc_mcontext.gregs[number]), value);
  };
  Registers before;
  if (!general(REG_RIP, &before.pc) || !general(REG_RBP, &before.bp) || !general(REG_RSP, &before.sp)) return {};
  ++before.pc;
  return before;
}

[[gnu::noinline]] UnwindRule look_up(uintptr_t pc) {
  const UnwindRule rule = find_rule(pc - 1);
  cache.put(pc, rule);
  return rule;
}

// To the caller. False: there is none to be found. No address of `at` leaves this function, so that it stays in
// registers.
[[gnu::always_inline]] inline bool step(Registers& at) {
  UnwindRule rule;
  if (__builtin_expect(!cache.find(at.pc, &rule), false)) rule = look_up(at.pc);
  uintptr_t cfa = static_cast<uintptr_t>(rule.cfa_offset());
  if (__builtin_expect(rule.cfa() == UnwindRule::Cfa::kFromSp, true)) {
    cfa += at.sp;
  } else if (rule.cfa() == UnwindRule::Cfa::kFromBp) {
    cfa += at.bp;
  } else if (rule.cfa() == UnwindRule::Cfa::kSignal) {
    at = leave_signal(at.sp);
    return at.pc > kPage;
  } else if (rule.cfa() == UnwindRule::Cfa::kEnd) {
    return false;
  } else {
    cfa += rule.cfa() == UnwindRule::Cfa::kDerefSp ? at.sp : at.bp;
    if (!read(cfa, &cfa)) return false;
    cfa += static_cast<uintptr_t>(rule.cfa_addend());
  }
  if (cfa <= at.sp) return false;  // a stack grows one way
  uintptr_t pc, bp = at.bp;
  if (!read(cfa - 8, &pc)) return false;
  if (rule.bp() == UnwindRule::Bp::kAtCfa) {
    if (!read(cfa + static_cast<uintptr_t>(rule.bp_offset()), &bp)) return false;
  } else if (rule.bp() == UnwindRule::Bp::kAtBp) {
    if (!read(bp + static_cast<uintptr_t>(rule.bp_offset()), &bp)) return false;
  } else if (rule.bp() == UnwindRule::Bp::kLost) {
    bp = 0;
  }
  at = {pc, cfa, bp};
  return pc > kPage;
}

#else

[[gnu::always_inline]] inline bool step(Registers& at) {
  const uintptr_t frame = at.bp;
  uintptr_t pc, bp;
  if (frame < at.sp || !read(frame, &bp) || !read(frame + 8, &pc)) return false;
  at = {pc, frame + 16, bp};
  return pc > kPage;
}

#endif

// Of the function whose own frame begins at `frame`, in the code after its call.
[[gnu::always_inline]] inline Registers caller_of(const void* frame) {
  const uintptr_t* const words = static_cast<const uintptr_t*>(frame);
  const uintptr_t address = reinterpret_cast<uintptr_t>(frame);
  if (!is_known(address)) known = (address & ~(kPage - 1)) | 1;
  return {words[1], address + 16, words[0]};
}

}  // namespace

[[gnu::noinline]] unsigned unwind(Frame* frames, unsigned max, unsigned skip) {
  Registers at = caller_of(__builtin_frame_address(0));
  unsigned depth = 0;
  while (depth < max && step(at)) {
    if (skip != 0) {
      --skip;
    } else {
      frames[depth++] = Frame::pc(at.pc);
    }
  }
  return depth;
}

[[gnu::noinline]] unsigned unwind_from(Frame* frames, unsigned max, uintptr_t innermost) {
  constexpr unsigned kNear = 12;
  const Registers here = caller_of(__builtin_frame_address(0));
  Registers at = here;
  bool found = false;
  for (unsigned i = 0; i < kNear && !found; ++i) found = step(at) && at.pc == innermost;
  if (!found) {
    at = here;
    if (!step(at)) return 0;
  }
  unsigned depth = 0;
  while (depth < max) {
    frames[depth++] = Frame::pc(at.pc);
    if (!step(at)) break;
  }
  return depth;
}

void unwind_modules_changed() {
  cache.forget();
}

}  // namespace causeway::dept
