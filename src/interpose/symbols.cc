#include "interpose/symbols.h"

#include <link.h>

#include <cstdint>

namespace causeway::interpose {
namespace {

struct Tables {
  const ElfW(Sym)* symbols = nullptr;
  const char* strings = nullptr;
  const uint32_t* hash = nullptr;
  const uint16_t* versions = nullptr;  // may be missing
};

Tables tables_of(const link_map* map) {
  Tables tables;
  for (const ElfW(Dyn)* entry = map->l_ld; entry != nullptr && entry->d_tag != DT_NULL; ++entry) {
    // glibc has relocated these where the section is writable.
    const ElfW(Addr) value = entry->d_un.d_ptr;
    const ElfW(Addr) address = value < map->l_addr ? value + map->l_addr : value;
    switch (entry->d_tag) {
      case DT_SYMTAB: tables.symbols = reinterpret_cast<const ElfW(Sym)*>(address); break;
      case DT_STRTAB: tables.strings = reinterpret_cast<const char*>(address); break;
      case DT_GNU_HASH: tables.hash = reinterpret_cast<const uint32_t*>(address); break;
      case DT_VERSYM: tables.versions = reinterpret_cast<const uint16_t*>(address); break;
      default: break;
    }
  }
  return tables;
}

uint32_t gnu_hash(const char* name) {
  uint32_t hash = 5381;
  for (; *name != 0; ++name) hash = hash * 33 + static_cast<unsigned char>(*name);
  return hash;
}

void* look_in(const link_map* map, const char* name, uint32_t hash) {
  constexpr uint16_t kHidden = 0x8000;  // not the default version
  const Tables tables = tables_of(map);
  if (tables.symbols == nullptr || tables.strings == nullptr || tables.hash == nullptr) return nullptr;
  const uint32_t buckets = tables.hash[0], first = tables.hash[1], filter_words = tables.hash[2];
  const uint32_t* const bucket = tables.hash + 4 + filter_words * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
  const uint32_t* const chain = bucket + buckets;
  if (buckets == 0) return nullptr;
  uint32_t index = bucket[hash % buckets];
  if (index < first) return nullptr;
  for (;; ++index) {
    const uint32_t other = chain[index - first];
    const ElfW(Sym)& symbol = tables.symbols[index];
    const bool is_function = ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx != SHN_UNDEF;
    const bool is_default = tables.versions == nullptr || (tables.versions[index] & kHidden) == 0;
    if ((other | 1) == (hash | 1) && is_function && is_default &&
        __builtin_strcmp(tables.strings + symbol.st_name, name) == 0) {
      return reinterpret_cast<void*>(map->l_addr + symbol.st_value);
    }
    if ((other & 1) != 0) return nullptr;
  }
}

}  // namespace

void* next_symbol(const char* name) {
  const uint32_t hash = gnu_hash(name);
  bool is_behind = false;
  for (const link_map* map = _r_debug.r_map; map != nullptr; map = map->l_next) {
    if (is_behind) {
      if (void* found = look_in(map, name, hash)) return found;
    }
    if (map->l_ld == _DYNAMIC) is_behind = true;
  }
  return nullptr;
}

}  // namespace causeway::interpose
