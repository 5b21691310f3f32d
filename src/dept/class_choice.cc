#include "dept/class_choice.h"

#include "dept/hash.h"

// Of the program this is linked into; a preload library's hooks know about all modules.
extern "C" {
extern char __data_start[] __attribute__((weak));
extern char _end[] __attribute__((weak));
}

namespace causeway::dept::class_choice {
namespace {

constinit Hooks g_hooks;

bool is_own_data(const void* address) {
  return __data_start != nullptr && _end != nullptr && address >= static_cast<void*>(__data_start) &&
         address < static_cast<void*>(_end);
}

}  // namespace

void set_hooks(const Hooks& hooks) { g_hooks = hooks; }

uint64_t key_of_site(Site site) {
  if (site.line != 0) return mix(hash_of(reinterpret_cast<const char*>(site.where)), site.line);
  return mix(kSeed, g_hooks.of_code != nullptr ? g_hooks.of_code(site.where) : site.where);
}

uint64_t key_of_frames(const Frame* frames, unsigned depth, const Arena& arena) {
  uint64_t key = 0x51e7;
  for (unsigned i = 0; i < depth; ++i) {
    const Frame frame = frames[i];
    key = mix(key, frame.is_source() ? hash_of(arena.text(frame.source()))
                                     : key_of_site(Site::at_pc(static_cast<uintptr_t>(frame.pc()))));
  }
  return key;
}

ClassChoice choose(const void* address, const ObjectTraits& traits, Site first_use, bool on_stack) {
  ClassChoice choice;
  const uint64_t kind = static_cast<uint64_t>(traits.kind) << 56;
  if (traits.key != 0) {
    choice.key = traits.key;
    return choice;
  }
  choice.key = key_of_site(first_use) ^ kind;
  if (on_stack) return choice;
  choice.otherwise = choice.key;
  if (g_hooks.of_address != nullptr && g_hooks.of_address(address, &choice)) return choice;
  if (g_hooks.of_address == nullptr && is_own_data(address)) choice.key = mix(kSeed, reinterpret_cast<uintptr_t>(address)) ^ kind;
  else choice.otherwise = 0;
  return choice;
}

}  // namespace causeway::dept::class_choice
