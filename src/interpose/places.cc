#include "interpose/places.h"

#include <dlfcn.h>
#include <link.h>

#include "dept/class_choice.h"
#include "dept/hash.h"

// glibc 2.35; takes no lock.
extern "C" int _dl_find_object(void* address, dl_find_object* result) noexcept __attribute__((weak));

namespace causeway::interpose {
namespace {

bool find_place(uint64_t address, uint64_t* key) {
  dl_find_object found;
  if (_dl_find_object == nullptr || _dl_find_object(reinterpret_cast<void*>(address), &found) != 0) return false;
  const link_map& module = *found.dlfo_link_map;
  // By its last name: the same program may be started from elsewhere. The program itself has none.
  const char* name = module.l_name == nullptr ? "" : module.l_name;
  for (const char* c = name; *c != '\0'; ++c)
    if (*c == '/') name = c + 1;
  *key = dept::mix(dept::hash_of(name), address - module.l_addr);
  return true;
}

bool of_address(const void* address, dept::ClassChoice* choice) {
  return find_place(reinterpret_cast<uintptr_t>(address), &choice->key);
}

uint64_t of_code(uint64_t pc) {
  uint64_t key = 0;
  return find_place(pc, &key) ? key : pc;
}

}  // namespace

void know_places() { dept::class_choice::set_hooks({.of_address = of_address, .of_code = of_code}); }

}  // namespace causeway::interpose
