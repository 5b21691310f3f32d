#include "dma/debug/stack.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <link.h>
#include <pthread.h>

#include <cstdlib>
#include <cstring>
#include <memory>

namespace causeway::dma {

namespace {

StackBounds ask_system() {
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return {};
  void* low = nullptr;
  size_t size = 0;
  StackBounds bounds;
  if (pthread_attr_getstack(&attributes, &low, &size) == 0) {
    bounds.low = reinterpret_cast<uintptr_t>(low);
    bounds.high = bounds.low + size;
  }
  pthread_attr_destroy(&attributes);
  return bounds;
}

const char* base_name(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

std::string name_of_address(const void* address) {
  Dl_info info{};
  // A return address may be the first byte after a function that never returns.
  const void* inside = static_cast<const char*>(address) - 1;
  if (dladdr(inside, &info) == 0 || info.dli_fname == nullptr) return fmt::format("{}", address);
  auto value = reinterpret_cast<uintptr_t>(address);
  if (info.dli_sname == nullptr)
    return fmt::format("{}(+{:#x})", base_name(info.dli_fname), value - reinterpret_cast<uintptr_t>(info.dli_fbase));
  int status = 0;
  std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(info.dli_sname, nullptr, nullptr, &status), std::free);
  return fmt::format("{}+{:#x}", plain ? plain.get() : info.dli_sname,
                     value - reinterpret_cast<uintptr_t>(info.dli_saddr));
}

struct Range {
  uintptr_t begin, end;
};

int overlaps_read_only(dl_phdr_info* image, size_t, void* wanted) {
  const auto* range = static_cast<const Range*>(wanted);
  for (unsigned i = 0; i < image->dlpi_phnum; ++i) {
    const auto& header = image->dlpi_phdr[i];
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
    uintptr_t begin = image->dlpi_addr + header.p_vaddr;
    if (range->begin < begin + header.p_memsz && begin < range->end) return 1;
  }
  return 0;
}

}  // namespace

const StackBounds& own_stack() {
  thread_local const StackBounds bounds = ask_system();
  return bounds;
}

// Other functions' frames are read as plain memory, which the sanitizers cannot know to be right.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("address", "thread")))
#endif
Stack capture_stack(const void* frame) {
  Stack stack;
  const StackBounds& bounds = own_stack();
  auto at = reinterpret_cast<uintptr_t>(frame);
  for (const void*& slot : stack.frames) {
    if (at % sizeof(uintptr_t) != 0 || !bounds.contains(at) || !bounds.contains(at + 2 * sizeof(uintptr_t) - 1)) break;
    const auto* record = reinterpret_cast<const uintptr_t*>(at);  // the caller's frame, the return address
    if (record[1] == 0) break;
    slot = reinterpret_cast<const void*>(record[1]);
    if (record[0] <= at) break;
    at = record[0];
  }
  return stack;
}

std::string to_string(const Stack& stack) {
  std::string text;
  for (const void* address : stack.frames) {
    if (address == nullptr) break;
    if (!text.empty()) text += " < ";
    text += name_of_address(address);
  }
  return text.empty() ? "unknown" : text;
}

bool in_read_only_image(const void* pointer, size_t size) {
  Range range{reinterpret_cast<uintptr_t>(pointer), 0};
  if (__builtin_add_overflow(range.begin, size, &range.end)) range.end = ~uintptr_t{0};
  return dl_iterate_phdr(overlaps_read_only, &range) != 0;
}

}  // namespace causeway::dma
