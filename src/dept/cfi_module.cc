// Which module a program counter belongs to, and where that keeps its table of frame descriptions.
#include <dlfcn.h>
#include <link.h>

#include "dept/cfi_reader.h"

namespace causeway::dept {

#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 35)

// Lock-free and async-signal-safe, says glibc.
const uint8_t* frame_table_of(uintptr_t pc) {
  dl_find_object found;
  if (_dl_find_object(reinterpret_cast<void*>(pc), &found) != 0) return nullptr;
  return static_cast<const uint8_t*>(found.dlfo_eh_frame);
}

#else

namespace {

struct Search {
  uintptr_t pc;
  const uint8_t* table;
};

int look_at(dl_phdr_info* info, size_t, void* argument) {
  Search& search = *static_cast<Search*>(argument);
  bool inside = false;
  const uint8_t* table = nullptr;
  for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    const uintptr_t begin = info->dlpi_addr + header.p_vaddr;
    if (header.p_type == PT_LOAD && search.pc - begin < header.p_memsz) inside = true;
    if (header.p_type == PT_GNU_EH_FRAME) table = reinterpret_cast<const uint8_t*>(begin);
  }
  if (inside) search.table = table;
  return inside ? 1 : 0;
}

}  // namespace

const uint8_t* frame_table_of(uintptr_t pc) {
  Search search{pc, nullptr};
  dl_iterate_phdr(look_at, &search);
  return search.table;
}

#endif

}  // namespace causeway::dept
