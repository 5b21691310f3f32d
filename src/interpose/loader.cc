// The dynamic loader's locks, as two objects: one that dlopen(), dlclose() and dlsym() take, and that is held while the constructors and
// destructors of modules run; and that of the list of modules, under which the callback of dl_iterate_phdr() runs.
//
// dlsym() and dlopen() look at who calls them (RTLD_NEXT, the caller's DT_RUNPATH). So a few instructions come first, which leave the
// stack as it was and jump on: to the real function, or, where the caller makes no difference, to our dlopen().
#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "client/raw.h"
#include "dept/locks.h"
#include "dept/unwind.h"
#include "interpose/bootstrap.h"
#include "interpose/modules.h"
#include "interpose/real.h"

using namespace causeway::dept;
using namespace causeway::interpose;

CW_DEFINE_REAL(dlclose);
CW_DEFINE_REAL(dl_iterate_phdr);
#ifdef __x86_64__
CW_DEFINE_REAL(dlsym);
CW_DEFINE_REAL(dlopen);
#endif

namespace {

// What they are called is where they are.
struct LoaderLock {
  uint8_t place;
  const char* name;
};
constinit LoaderLock load_lock{0, "the dynamic loader"};
constinit LoaderLock list_lock{0, "the dynamic loader's list of modules"};

ObjectId object_of(const LoaderLock& lock, Site site) {
  uint64_t key = 0xcbf29ce484222325;
  for (const char* c = lock.name; *c != '\0'; ++c) key = (key ^ static_cast<uint8_t>(*c)) * 0x100000001b3;
  return Tracker::get().object_at(&lock.place, {.kind = Kind::kLoader, .flags = Object::kRecursive, .key = key, .name = lock.name},
                                  site);
}

// The C library's own lock is taken within the call that follows; what runs under it is what counts.
class Holds {
 public:
  Holds(const LoaderLock& lock, Site site) : site_(site) {
    const KeepErrno errno_is_kept;
    object_ = object_of(lock, site);
    locks::acquiring(object_, locks::Mode::kWrite, site, {});
    locks::acquired(object_, locks::Mode::kWrite, site, {});
  }
  ~Holds() {
    const KeepErrno errno_is_kept;
    locks::releasing(object_, site_);
  }
  Holds(const Holds&) = delete;
  Holds& operator=(const Holds&) = delete;

 private:
  ObjectId object_;
  Site site_;
};

// Takes and gives it back within.
void passes_by(const LoaderLock& lock, Site site) {
  const KeepErrno errno_is_kept;
  ThreadContext* self = ThreadContext::current();
  const ObjectId object = object_of(lock, site);
  if (self == nullptr || object == ObjectId::kNone || Tracker::get().holds(self, object, bit(Event::kWrite))) return;
  Tracker::get().wait(self, object, bit(Event::kWrite), site, {});
}

void is_past() {
  const KeepErrno errno_is_kept;
  if (ThreadContext* self = ThreadContext::current()) Tracker::get().wait_over(self);
}

// Writable pieces of what is loaded: where static objects are.
struct Pieces {
  struct Piece { uintptr_t begin; size_t size; };
  static constexpr unsigned kMost = 4095;
  Piece piece[kMost];
  unsigned count;
  uint64_t unloaded;  // modules, since the process began
};

int add_pieces(dl_phdr_info* module, size_t size, void* to) {
  auto& pieces = *static_cast<Pieces*>(to);
  if (size >= offsetof(dl_phdr_info, dlpi_subs) + sizeof module->dlpi_subs) pieces.unloaded = module->dlpi_subs;
  for (unsigned i = 0; i < module->dlpi_phnum && pieces.count < Pieces::kMost; ++i) {
    const ElfW(Phdr)& part = module->dlpi_phdr[i];
    if (part.p_type == PT_LOAD && (part.p_flags & PF_W) != 0)
      pieces.piece[pieces.count++] = {module->dlpi_addr + part.p_vaddr, part.p_memsz};
  }
  return 0;
}

bool has(const Pieces& pieces, const Pieces::Piece& wanted) {
  for (unsigned i = 0; i < pieces.count; ++i)
    if (pieces.piece[i].begin == wanted.begin && pieces.piece[i].size == wanted.size) return true;
  return false;
}

// Both lists of one dlclose(), in memory of its own: a thread's stack may be small.
struct BeforeAndAfter {
  Pieces before, after;
  static BeforeAndAfter* make() {
    const long memory = causeway::client::raw(SYS_mmap, nullptr, sizeof(BeforeAndAfter), PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory < 0 && memory > -4096 ? nullptr : reinterpret_cast<BeforeAndAfter*>(memory);
  }
  static void drop(BeforeAndAfter* it) { causeway::client::raw(SYS_munmap, it, sizeof *it); }
};

void purge(const BeforeAndAfter& lists) {
  for (unsigned i = 0; i < lists.before.count; ++i) {
    const Pieces::Piece& piece = lists.before.piece[i];
    if (!has(lists.after, piece)) Tracker::get().memory_freed(reinterpret_cast<void*>(piece.begin), piece.size);
  }
}

}  // namespace

bool causeway::interpose::is_loading() {
  ThreadContext* self = ThreadContext::current();
  return self != nullptr && Tracker::get().holds(self, Tracker::get().find_object(&load_lock.place), bit(Event::kWrite));
}

CW_INTERPOSE int dlclose(void* handle) noexcept {
  if (!tracked()) return CW_REAL(dlclose)(handle);
  const Site site = CW_SITE;
  BeforeAndAfter* lists = BeforeAndAfter::make();
  if (lists != nullptr) CW_REAL(dl_iterate_phdr)(add_pieces, &lists->before);
  int result;
  {
    const Holds holds(load_lock, site);
    result = CW_REAL(dlclose)(handle);
  }
  if (lists == nullptr) return result;
  CW_REAL(dl_iterate_phdr)(add_pieces, &lists->after);
  const KeepErrno errno_is_kept;
  if (lists->before.unloaded != lists->after.unloaded) {
    purge(*lists);
    unwind_modules_changed();
    record_modules();
  }
  BeforeAndAfter::drop(lists);
  return result;
}

CW_INTERPOSE int dl_iterate_phdr(int (*visit)(dl_phdr_info*, size_t, void*), void* data) {
  if (!tracked()) return CW_REAL(dl_iterate_phdr)(visit, data);
  const Holds holds(list_lock, CW_SITE);
  return CW_REAL(dl_iterate_phdr)(visit, data);
}

#ifdef __x86_64__

namespace {

// Whether the C library would look for this file in places that the calling module names.
bool depends_on_caller(const char* file, const void* caller) {
  if (file == nullptr || strchr(file, '$') != nullptr) return file != nullptr;
  if (strchr(file, '/') != nullptr) return false;
  Dl_info info;
  link_map* module = nullptr;
  if (dladdr1(caller, &info, reinterpret_cast<void**>(&module), RTLD_DL_LINKMAP) == 0 || module == nullptr) return true;
  for (const ElfW(Dyn)* entry = module->l_ld; entry != nullptr && entry->d_tag != DT_NULL; ++entry)
    if (entry->d_tag == DT_RUNPATH || entry->d_tag == DT_RPATH) return true;
  return false;
}

}  // namespace

// From the instructions below; the names are theirs alone.
extern "C" {

__attribute__((visibility("hidden"))) void* causeway_dlopen_tracked(const char* file, int mode) {
  const Site site = CW_SITE;
  void* handle;
  {
    const Holds holds(load_lock, site);
    passes_by(list_lock, site);
    is_past();
    handle = CW_REAL(dlopen)(file, mode);
  }
  if (handle != nullptr) {
    const KeepErrno errno_is_kept;
    unwind_modules_changed();
    record_modules();
  }
  return handle;
}

__attribute__((visibility("hidden"), used)) void* causeway_dlopen_begins(const char* file, int mode, const void* caller) {
  (void)mode;
  void* const real = real_dlopen.get();
  if (!tracked()) return real;
  const Site site = Site::at(caller);
  if (!depends_on_caller(file, caller)) return reinterpret_cast<void*>(causeway_dlopen_tracked);
  passes_by(load_lock, site);
  is_past();
  return real;
}

__attribute__((visibility("hidden"), used)) void* causeway_dlsym_begins(const void* caller) {
  void* const real = real_dlsym.get();
  if (tracked()) passes_by(load_lock, Site::at(caller));
  return real;
}

}  // extern "C"

// \begins says where \name goes on, and is given the address of who calls.
asm(R"(
  .macro ask_and_go_on name, begins, caller
  .globl \name
  .type \name, @function
\name:
  .cfi_startproc
  push %rdi
  .cfi_adjust_cfa_offset 8
  push %rsi
  .cfi_adjust_cfa_offset 8
  sub $8, %rsp
  .cfi_adjust_cfa_offset 8
  mov 24(%rsp), %\caller
  call \begins
  add $8, %rsp
  .cfi_adjust_cfa_offset -8
  pop %rsi
  .cfi_adjust_cfa_offset -8
  pop %rdi
  .cfi_adjust_cfa_offset -8
  jmp *%rax
  .cfi_endproc
  .size \name, . - \name
  .endm

  .text
  ask_and_go_on dlsym, causeway_dlsym_begins, rdi
  ask_and_go_on dlopen, causeway_dlopen_begins, rdx
  .purgem ask_and_go_on
)");

#endif
