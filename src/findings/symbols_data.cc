// Variables by address: ELF symbols say which, DWARF types say which member.
#include <dwarf.h>
#include <fmt/format.h>

#include <array>

#include "base/printable.h"
#include "findings/symbols_file.h"

namespace causeway::findings {
namespace {

constexpr unsigned kMaxVariables = 1u << 18;
constexpr unsigned kMaxDies = 1u << 22;
constexpr unsigned kMaxNesting = 16;

// A type that is a primitive itself: what is inside has no meaning to who reads.
bool is_primitive(const char* name) {
  static constexpr std::array<std::string_view, 18> kNames = {
      "pthread_", "mtx_t", "cnd_t", "sem_t", "once_flag", "mutex", "recursive_mutex", "timed_mutex", "recursive_timed_mutex", "shared_mutex",
      "shared_timed_mutex", "condition_variable", "latch", "barrier", "counting_semaphore", "atomic", "future", "__mutex_base"};
  const std::string_view text = name != nullptr ? name : "";
  for (std::string_view primitive : kNames)
    if (text == primitive || (text.starts_with(primitive) && (primitive.ends_with('_') || text[primitive.size()] == '<' ||
                                                              text[primitive.size()] == '_')))
      return true;
  return false;
}

// The type of `die` without typedefs and qualifiers. False: there is none, or it is a primitive.
bool inner_type(Dwarf_Die* die, Dwarf_Die* type) {
  Dwarf_Attribute attribute;
  Dwarf_Die* at = dwarf_formref_die(dwarf_attr_integrate(die, DW_AT_type, &attribute), type);
  for (unsigned i = 0; at != nullptr && i < kMaxNesting; ++i) {
    if (is_primitive(dwarf_diename(at))) return false;
    const int tag = dwarf_tag(at);
    if (tag != DW_TAG_typedef && tag != DW_TAG_const_type && tag != DW_TAG_volatile_type) return true;
    Dwarf_Die next;
    at = dwarf_formref_die(dwarf_attr_integrate(at, DW_AT_type, &attribute), &next);
    if (at != nullptr) {
      *type = next;
      at = type;
    }
  }
  return false;
}

bool size_of(Dwarf_Die* type, uint64_t* size) {
  Dwarf_Word value = 0;
  if (dwarf_aggregate_size(type, &value) != 0 || value == 0) return false;
  *size = value;
  return true;
}

uint64_t size_of_member(Dwarf_Die* member) {
  Dwarf_Attribute attribute;
  Dwarf_Die type;
  uint64_t size = 0;
  if (dwarf_formref_die(dwarf_attr_integrate(member, DW_AT_type, &attribute), &type) == nullptr) return 0;
  return size_of(&type, &size) ? size : 0;
}

// The member at `offset`; of a union, the largest there.
bool find_member(Dwarf_Die* type, uint64_t offset, Dwarf_Die* found, uint64_t* inner) {
  Dwarf_Die child;
  uint64_t largest = 0;
  if (dwarf_child(type, &child) != 0) return false;
  do {
    const int tag = dwarf_tag(&child);
    if (tag != DW_TAG_member && tag != DW_TAG_inheritance) continue;
    Dwarf_Attribute attribute;
    Dwarf_Word where = 0;
    if (dwarf_attr(&child, DW_AT_data_member_location, &attribute) != nullptr) {
      if (dwarf_formudata(&attribute, &where) != 0) continue;
    } else if (dwarf_tag(type) != DW_TAG_union_type) {
      continue;  // static
    }
    const uint64_t size = size_of_member(&child);
    if (offset < where || offset - where >= size || size <= largest) continue;
    largest = size;
    *found = child;
    *inner = offset - where;
  } while (dwarf_siblingof(&child, &child) == 0);
  return largest > 0;
}

// ".members[2].lock" of what lies `offset` bytes into `variable`.
std::string member_path(Dwarf_Die variable, uint64_t offset) {
  std::string path;
  Dwarf_Die at = variable;
  for (unsigned depth = 0; depth < kMaxNesting; ++depth) {
    Dwarf_Die type;
    if (!inner_type(&at, &type)) break;
    const int tag = dwarf_tag(&type);
    if (tag == DW_TAG_array_type) {
      Dwarf_Attribute attribute;
      Dwarf_Die element;
      uint64_t size = 0;
      if (dwarf_formref_die(dwarf_attr_integrate(&type, DW_AT_type, &attribute), &element) == nullptr || !size_of(&element, &size))
        break;
      path += fmt::format("[{}]", offset / size);
      offset %= size;
      at = type;  // whose type is that of the elements
      continue;
    }
    if (tag != DW_TAG_structure_type && tag != DW_TAG_class_type && tag != DW_TAG_union_type) break;
    Dwarf_Die member;
    uint64_t inner = 0;
    if (!find_member(&type, offset, &member, &inner)) break;
    offset = inner;
    if (dwarf_tag(&member) == DW_TAG_member)
      if (const char* name = dwarf_diename(&member); name != nullptr) path += fmt::format(".{}", printable(name));
    at = member;
  }
  return path;
}

void learn_variables(Dwarf_Die* parent, std::map<uint64_t, Dwarf_Die>* variables, unsigned depth, unsigned* dies) {
  Dwarf_Die child;
  if (dwarf_child(parent, &child) != 0) return;
  do {
    if (++*dies > kMaxDies || variables->size() >= kMaxVariables) return;
    const int tag = dwarf_tag(&child);
    if (tag == DW_TAG_namespace && depth < kMaxNesting) learn_variables(&child, variables, depth + 1, dies);
    if (tag != DW_TAG_variable) continue;
    Dwarf_Attribute attribute;
    Dwarf_Op* operations = nullptr;
    size_t count = 0;
    if (dwarf_getlocation(dwarf_attr(&child, DW_AT_location, &attribute), &operations, &count) != 0 || count != 1) continue;
    if (operations[0].atom == DW_OP_addr) variables->try_emplace(operations[0].number, child);
  } while (dwarf_siblingof(&child, &child) == 0);
}

}  // namespace

std::optional<std::string> Symbols::data(const std::string& path, uint64_t address, std::string_view build_id) {
  File& in = *file(path, build_id);
  if (in.module == nullptr) return std::nullopt;
  const File::Named* named = in.object_at(address + in.bias);
  if (named == nullptr) return std::nullopt;
  const uint64_t offset = address + in.bias - named->begin;
  std::string text = demangled(named->name);
  // Statics within functions: "lock.0".
  if (const size_t dot = text.rfind('.');
      dot != std::string::npos && dot > 0 && text.find_first_not_of("0123456789", dot + 1) == std::string::npos)
    text.resize(dot);
  if (!in.variables_known) {
    in.variables_known = true;
    Dwarf_Addr bias = 0;
    Dwarf_Die* unit = nullptr;
    unsigned dies = 0;
    while ((unit = dwfl_module_nextcu(in.module, unit, &bias)) != nullptr) learn_variables(unit, &in.variables, 0, &dies);
  }
  auto variable = in.variables.find(address - offset);
  if (variable == in.variables.end()) return offset == 0 ? text : fmt::format("{}+{:#x}", text, offset);
  const std::string members = member_path(variable->second, offset);
  if (members.empty() && offset != 0) return fmt::format("{}+{:#x}", text, offset);
  return text + members;
}

}  // namespace causeway::findings
