#include "findings/recorded_text.h"

#include <fmt/format.h>
#include <string.h>

#include <algorithm>

#include "base/printable.h"

namespace causeway::findings {
namespace {

constexpr size_t kMaxText = 4096;

}  // namespace

std::string text_of(const dept::Arena& arena, dept::StringId id) { return printable(arena.text(id).substr(0, kMaxText)); }

std::string path_of_program(const dept::Arena& arena) {
  return text_of(arena, dept::StringId(arena.header().program.load(std::memory_order_relaxed)));
}

std::string name_of(const dept::Thread& thread) {
  return printable(std::string_view(thread.name, ::strnlen(thread.name, sizeof thread.name)));
}

std::string path_of(const dept::Arena& arena, const dept::Module& module) {
  return std::string(arena.text(module.path).substr(0, kMaxText));
}

std::string build_id_of(const dept::Module& module) {
  return hexadecimal(module.build_id, std::min<size_t>(module.build_id_size, sizeof module.build_id));
}

std::string hexadecimal(const uint8_t* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

}  // namespace causeway::findings
