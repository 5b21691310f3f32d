// Handlers of signals run as interruptions of what the thread does. In place of the program's a handler of ours is installed, which calls
// the program's; everything else of an action (flags, mask, what becomes of it after the first time) is the kernel's business as
// before. The program is shown its own handlers.
//
// What a handler was is kept when it is replaced by SIG_DFL or SIG_IGN: the kernel knows whether ours is installed, and the child of a
// vfork, which has actions of its own but shares this memory, spoils nothing.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>

#include <atomic>

#include "client/raw.h"
#include "dept/tracker.h"
#include "interpose/bootstrap.h"
#include "interpose/real.h"
#include "interpose/signals.h"
#include "interpose/sleeping.h"

using namespace causeway::dept;
using namespace causeway::interpose;

using Handler = void (*)(int);
using Sigaction = struct sigaction;

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
extern "C" {
Handler __sysv_signal(int number, Handler handler) noexcept;
[[noreturn]] void __longjmp_chk(jmp_buf environment, int value);
}

CW_DEFINE_REAL(sigaction);
CW_DEFINE_REAL(signal);
CW_DEFINE_REAL(sysv_signal);
CW_DEFINE_REAL(__sysv_signal);
CW_DEFINE_REAL(sigset);
CW_DEFINE_REAL(sighold);
CW_DEFINE_REAL(sigrelse);
CW_DEFINE_REAL(pthread_sigmask);
CW_DEFINE_REAL(sigprocmask);
CW_DEFINE_REAL(longjmp);
CW_DEFINE_REAL(_longjmp);
CW_DEFINE_REAL(siglongjmp);
CW_DEFINE_REAL(__longjmp_chk);

namespace causeway::interpose::signals {
namespace {

constexpr int kSignals = 64;
constexpr uint64_t mask_of(int number) { return uint64_t{1} << (number - 1); }
// Caused by what the thread itself does: these come when they come, and blocking them is no way out.
constexpr uint64_t kSynchronous = mask_of(SIGSEGV) | mask_of(SIGBUS) | mask_of(SIGFPE) | mask_of(SIGILL) | mask_of(SIGTRAP) |
                                  mask_of(SIGABRT) | mask_of(SIGSYS);

struct Action {
  std::atomic<Handler> handler;
  std::atomic<bool> with_info;  // SA_SIGINFO
};
constinit Action actions[kSignals + 1];
constinit std::atomic<uint64_t> handled{0};

// A handler that runs on this thread; in the frame of ours.
struct Running {
  Running* outer;
  uintptr_t frame;
  uintptr_t alternate_begin, alternate_end;  // of the stack it runs on, if that is an alternate one
  unsigned sleeps;  // of sleeping::handler_begins()
  bool is_told;
};
thread_local Running* running = nullptr;
thread_local uint64_t blocked = 0;

using InfoHandler = void (*)(int, siginfo_t*, void*);
InfoHandler with_info(Handler handler) { return reinterpret_cast<InfoHandler>(reinterpret_cast<void (*)()>(handler)); }

bool is_function(Handler handler) {
  const auto value = reinterpret_cast<intptr_t>(handler);
  return value > 2;  // SIG_DFL, SIG_IGN, SIG_HOLD; SIG_ERR is -1
}

void tell_enabled(ThreadContext* self) {
  if (self != nullptr) Tracker::get().irqs_enabled(self, handled.load(std::memory_order_relaxed) & ~kSynchronous & ~blocked);
}

void ends(Running& ended, sleeping::Handler how) {
  ThreadContext* self = ended.is_told ? ThreadContext::current() : nullptr;
  sleeping::handler_ends(ended.sleeps, how);
  if (self != nullptr) Tracker::get().irq_exit(self);
  running = ended.outer;
}

template <typename Call>
void interruption(int number, const ucontext_t* context, Call call) {
  Running mine{running, reinterpret_cast<uintptr_t>(__builtin_frame_address(0)), 0, 0, 0, false};
  uint64_t before = blocked;
  ThreadContext* self = gate.ready ? ThreadContext::current() : nullptr;
  if (context != nullptr) {
    const stack_t& stack = context->uc_stack;
    if ((stack.ss_flags & SS_DISABLE) == 0) {
      mine.alternate_begin = reinterpret_cast<uintptr_t>(stack.ss_sp);
      mine.alternate_end = mine.alternate_begin + stack.ss_size;
      if (mine.frame < mine.alternate_begin || mine.frame >= mine.alternate_end) mine.alternate_begin = mine.alternate_end = 0;
    }
    before = *reinterpret_cast<const uint64_t*>(&context->uc_sigmask);
  }
  if (self != nullptr) {
    const KeepErrno errno_is_kept;
    blocked = before;
    tell_enabled(self);  // it has come, so it could
    mine.is_told = true;
    running = &mine;
    mine.sleeps = sleeping::handler_begins();
    Tracker::get().irq_enter(self, static_cast<uint8_t>(number - 1));
    mask_changed();
  }
  call();
  if (self != nullptr) {
    const KeepErrno errno_is_kept;
    ends(mine, sleeping::Handler::kReturns);
    if (context != nullptr) before = *reinterpret_cast<const uint64_t*>(&context->uc_sigmask);  // it may have been changed
    blocked = before;
    tell_enabled(ThreadContext::current());
  }
}

void on_signal(int number, siginfo_t* info, void* context) {
  const Handler handler = actions[number].handler.load(std::memory_order_relaxed);
  if (!is_function(handler)) return;
  interruption(number, static_cast<const ucontext_t*>(context),
               [=] { with_info(handler)(number, info, context); });
}

void on_plain_signal(int number) {
  const Handler handler = actions[number].handler.load(std::memory_order_relaxed);
  if (is_function(handler)) interruption(number, nullptr, [=] { handler(number); });
}

bool is_ours(Handler handler) {
  return handler == on_plain_signal || with_info(handler) == on_signal;
}

// Of what the kernel says is installed: what the program did install.
Handler shown(Handler installed, Handler programs) { return is_ours(installed) ? programs : installed; }

bool may_replace(int number) { return number >= 1 && number <= kSignals && tracked() && is_own_process(); }

void now_handled(int number, bool is) {
  if (is) {
    handled.fetch_or(mask_of(number), std::memory_order_relaxed);
  } else {
    handled.fetch_and(~mask_of(number), std::memory_order_relaxed);
  }
  mask_changed();
}

// signal() and its like: `real` installs what it is given and returns what there was.
template <typename Real>
Handler install(int number, Handler handler, Real real) {
  const bool in_range = number >= 1 && number <= kSignals;
  const Handler old = in_range ? actions[number].handler.load(std::memory_order_relaxed) : nullptr;
  if (!may_replace(number)) return shown(real(handler), old);
  const bool with_info = actions[number].with_info.load(std::memory_order_relaxed);
  if (is_function(handler) && !is_ours(handler)) {
    actions[number].handler.store(handler, std::memory_order_relaxed);
    actions[number].with_info.store(false, std::memory_order_relaxed);
    handler = on_plain_signal;
  }
  const Handler installed = real(handler);
  if (installed == SIG_ERR) {
    actions[number].handler.store(old, std::memory_order_relaxed);
    actions[number].with_info.store(with_info, std::memory_order_relaxed);
    return installed;
  }
  now_handled(number, is_function(handler));
  return shown(installed, old);
}

bool leaves(const Running& handler, uintptr_t stack_pointer) {
  const bool on_alternate = handler.alternate_end != 0;
  if (on_alternate && (stack_pointer < handler.alternate_begin || stack_pointer > handler.alternate_end)) return true;
  return stack_pointer > handler.frame;
}

// glibc mangles the stack pointer in a jmp_buf (setjmp/longjmp of sysdeps/x86_64).
void jumps([[maybe_unused]] const __jmp_buf_tag& environment) {
  if (running == nullptr) return;
#ifdef __x86_64__
  auto stack_pointer = static_cast<uintptr_t>(environment.__jmpbuf[6]);
  asm("ror $17, %0\n\txor %%fs:0x30, %0" : "+r"(stack_pointer));
  jumps_to(stack_pointer);
#endif
  if (environment.__mask_was_saved != 0 && gate.ready) {
    blocked = *reinterpret_cast<const uint64_t*>(&environment.__saved_mask);
    tell_enabled(ThreadContext::current());
  }
}

}  // namespace

void thread_begins() { mask_changed(); }

void mask_changed() {
  if (handled.load(std::memory_order_relaxed) == 0 || !gate.ready) return;
  const KeepErrno errno_is_kept;
  client::raw(SYS_rt_sigprocmask, SIG_BLOCK, nullptr, &blocked, sizeof blocked);
  tell_enabled(ThreadContext::current());
}

void jumps_to(uintptr_t stack_pointer) {
  while (running != nullptr && leaves(*running, stack_pointer)) ends(*running, sleeping::Handler::kJumpsOut);
}

}  // namespace causeway::interpose::signals

using namespace causeway::interpose::signals;

CW_INTERPOSE int sigaction(int number, const Sigaction* action, Sigaction* old) noexcept {
  if (number < 1 || number > kSignals) return CW_REAL(sigaction)(number, action, old);
  Action& programs = actions[number];
  const Handler old_handler = programs.handler.load(std::memory_order_relaxed);
  const bool old_with_info = programs.with_info.load(std::memory_order_relaxed);
  const bool replace = action != nullptr && may_replace(number);
  const bool is_handler = action != nullptr && is_function(action->sa_handler) && !signals::is_ours(action->sa_handler);
  Sigaction ours;
  const Sigaction* installed = action;
  if (replace && is_handler) {
    ours = *action;
    ours.sa_sigaction = on_signal;
    ours.sa_flags |= SA_SIGINFO;
    installed = &ours;
    programs.handler.store(action->sa_handler, std::memory_order_relaxed);
    programs.with_info.store((action->sa_flags & SA_SIGINFO) != 0, std::memory_order_relaxed);
  }
  const int result = CW_REAL(sigaction)(number, installed, old);
  if (result != 0) {
    programs.handler.store(old_handler, std::memory_order_relaxed);
    programs.with_info.store(old_with_info, std::memory_order_relaxed);
    return result;
  }
  if (replace) now_handled(number, is_handler);
  if (old != nullptr && signals::is_ours(old->sa_handler)) {
    old->sa_handler = old_handler;
    old->sa_flags = (old->sa_flags & ~SA_SIGINFO) | (old_with_info ? SA_SIGINFO : 0);
  }
  return result;
}

#define CW_SIGNAL(name)                                                                           \
  CW_INTERPOSE Handler name(int number, Handler handler) noexcept {                               \
    return install(number, handler, [=](Handler other) { return CW_REAL(name)(number, other); }); \
  }
CW_SIGNAL(signal)
CW_SIGNAL(sysv_signal)
CW_SIGNAL(__sysv_signal)
CW_SIGNAL(sigset)

#define CW_MASK(name, ...)                            \
  {                                                   \
    const int result = CW_REAL(name)(__VA_ARGS__);    \
    if (result == 0 && tracked()) mask_changed();     \
    return result;                                    \
  }
CW_INTERPOSE int pthread_sigmask(int how, const sigset_t* set, sigset_t* old) noexcept CW_MASK(pthread_sigmask, how, set, old)
CW_INTERPOSE int sigprocmask(int how, const sigset_t* set, sigset_t* old) noexcept CW_MASK(sigprocmask, how, set, old)
CW_INTERPOSE int sighold(int number) noexcept CW_MASK(sighold, number)
CW_INTERPOSE int sigrelse(int number) noexcept CW_MASK(sigrelse, number)

#define CW_JUMP(name, Environment)                                 \
  CW_INTERPOSE void name(Environment environment, int value) {               \
    jumps(environment[0]);                                           \
    CW_REAL(name)(environment, value);                               \
    __builtin_unreachable();                                         \
  }
CW_JUMP(longjmp, jmp_buf)
CW_JUMP(_longjmp, jmp_buf)
CW_JUMP(siglongjmp, sigjmp_buf)
CW_JUMP(__longjmp_chk, jmp_buf)
