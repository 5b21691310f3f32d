#include "interpose/modules.h"

#include <elf.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string_view>

#include "base/clock.h"
#include "client/raw.h"
#include "dept/tracker.h"
#include "dept/unwind.h"

namespace causeway::interpose {
namespace {

using dept::Module;
using dept::ModuleId;

struct Pass {
  dept::Arena& arena;
  uint32_t before;  // records there were when it began
  uint8_t number;   // of this pass: Module::seen of what it has found
  bool changed = false;
};

// The note that the linker left: what file this is, wherever it was found.
void find_build_id(const dl_phdr_info& info, Module& module) {
  for (unsigned i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info.dlpi_phdr[i];
    if (header.p_type != PT_NOTE) continue;
    const auto* at = reinterpret_cast<const unsigned char*>(info.dlpi_addr + header.p_vaddr);
    const auto* end = at + header.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
      const auto& note = *reinterpret_cast<const ElfW(Nhdr)*>(at);
      const auto* name = at + sizeof note;
      const auto* content = name + ((note.n_namesz + 3) & ~3u);
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        module.build_id_size = static_cast<uint8_t>(std::min<size_t>(note.n_descsz, sizeof module.build_id));
        std::memcpy(module.build_id, content, module.build_id_size);
        return;
      }
      at = content + ((note.n_descsz + 3) & ~3u);
    }
  }
}

std::string_view path_of(const dl_phdr_info& info, char (&buffer)[4096]) {
  if (info.dlpi_name != nullptr && info.dlpi_name[0] != '\0') return info.dlpi_name;
  const long length = client::raw(SYS_readlink, "/proc/self/exe", buffer, sizeof buffer);  // the program itself has no name here
  return length > 0 ? std::string_view(buffer, static_cast<size_t>(length)) : std::string_view();
}

int visit(dl_phdr_info* info, size_t, void* data) {
  auto& pass = *static_cast<Pass*>(data);
  uint64_t begin = UINT64_MAX, end = 0;
  for (unsigned i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& header = info->dlpi_phdr[i];
    if (header.p_type != PT_LOAD) continue;
    begin = std::min(begin, uint64_t{info->dlpi_addr + header.p_vaddr});
    end = std::max(end, uint64_t{info->dlpi_addr + header.p_vaddr + header.p_memsz});
  }
  if (begin >= end) return 0;
  char buffer[4096];
  const std::string_view path = path_of(*info, buffer);
  for (uint32_t i = 1; i < pass.before; ++i) {
    Module& known = pass.arena.at<Module>(ModuleId(i));
    if (known.begin != begin || known.end != end || known.unloaded_ns.load(std::memory_order_relaxed) != 0) continue;
    if (pass.arena.text(known.path) != path) continue;
    known.seen = pass.number;
    return 0;
  }
  ModuleId id;
  Module* module = pass.arena.add<Module>(&id);
  if (module == nullptr) return 0;
  module->bias = info->dlpi_addr;
  module->path = pass.arena.intern(path);
  find_build_id(*info, *module);
  module->begin = begin;
  module->seen = pass.number;
  std::atomic_ref(module->end).store(end, std::memory_order_release);  // who reads skips one that ends at 0
  pass.changed = true;
  return 0;
}

}  // namespace

void record_modules() {
  if (!dept::Tracker::is_on()) return;
  dept::Arena& arena = dept::Tracker::get().arena();
  static constinit std::atomic<uint8_t> passes{0};
  Pass pass{arena, arena.used<Module>(),
            static_cast<uint8_t>(passes.fetch_add(1, std::memory_order_relaxed) + 1)};
  dl_iterate_phdr(visit, &pass);
  for (uint32_t i = 1; i < pass.before; ++i) {
    Module& module = arena.at<Module>(ModuleId(i));
    if (module.seen == pass.number || module.unloaded_ns.load(std::memory_order_relaxed) != 0) continue;
    module.unloaded_ns.store(monotonic_ns(), std::memory_order_relaxed);
    dept::Tracker::get().memory_freed(reinterpret_cast<const void*>(module.begin), module.end - module.begin);
    pass.changed = true;
  }
  if (pass.changed) dept::unwind_modules_changed();
}

}  // namespace causeway::interpose
