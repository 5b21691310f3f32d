#include "findings/symbols.h"

#include <cxxabi.h>
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <elfutils/libdwfl.h>
#include <fmt/format.h>
#include <gelf.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "base/printable.h"
#include "findings/recorded_text.h"
#include "findings/symbols_file.h"

namespace causeway::findings {
namespace {

char* no_debuginfo_path = nullptr;

const Dwfl_Callbacks kCallbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
    .section_address = dwfl_offline_section_address,
    .debuginfo_path = &no_debuginfo_path,  // the usual places
};

std::string function_name(Dwarf_Die* die) {
  Dwarf_Attribute attribute;
  for (unsigned which : {unsigned{DW_AT_linkage_name}, unsigned{DW_AT_MIPS_linkage_name}})
    if (dwarf_attr_integrate(die, which, &attribute) != nullptr)
      if (const char* name = dwarf_formstring(&attribute); name != nullptr) return demangled(name);
  const char* name = dwarf_diename(die);
  return name != nullptr ? printable(name) : std::string();
}

bool is_function(Dwarf_Die* die) {
  const int tag = dwarf_tag(die);
  return tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine;
}

// Where the inlined call `die` was made.
void call_site(Dwarf_Die* die, Dwarf_Die* unit, CodeLine* line) {
  Dwarf_Attribute attribute;
  Dwarf_Word value = 0;
  Dwarf_Files* files = nullptr;
  size_t count = 0;
  if (dwarf_formudata(dwarf_attr(die, DW_AT_call_file, &attribute), &value) == 0 &&
      dwarf_getsrcfiles(unit, &files, &count) == 0 && value < count) {
    const char* name = dwarf_filesrc(files, value, nullptr, nullptr);
    if (name != nullptr) line->file = printable(name);
  }
  if (dwarf_formudata(dwarf_attr(die, DW_AT_call_line, &attribute), &value) == 0) line->line = static_cast<unsigned>(value);
}

}  // namespace

std::string demangled(const char* name) {
  if (std::strncmp(name, "_Z", 2) != 0) return printable(name);  // by itself "a" would be a type, signed char
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  if (text == nullptr) return printable(name);
  std::string whole = printable(text);
  std::free(text);
  // The parameter list is what follows the last parenthesis at depth 0; "(anonymous namespace)" and "operator()" are none.
  int depth = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    const char c = whole[i];
    if (c == '<' && !(i >= 8 && whole.compare(i - 8, 8, "operator") == 0)) ++depth;
    if (c == '>' && depth > 0 && whole[i - 1] != '-') --depth;
    if (c != '(' || depth > 0) continue;
    if (whole.compare(i, 21, "(anonymous namespace)") == 0) {
      i += 20;
      continue;
    }
    if (i >= 8 && whole.compare(i - 8, 8, "operator") == 0 && whole.compare(i, 2, "()") == 0) {
      i += 1;
      continue;
    }
    // A function within a function: "main::{lambda()#1}::operator()() const", "f(int)::g".
    int inner = 0;
    size_t end = i;
    for (; end < whole.size(); ++end) {
      if (whole[end] == '(') ++inner;
      if (whole[end] == ')' && --inner == 0) break;
    }
    if (end >= whole.size()) break;
    size_t after = end + 1;
    if (whole.compare(after, 6, " const") == 0) after += 6;
    whole.erase(i, after - i);
    --i;
  }
  return whole;
}

bool is_wrapper(std::string_view function) {
  // Also what they are made of: by function, because debug builds inline less.
  static constexpr std::array kPrefixes = std::to_array<std::string_view>({
      "std::mutex::", "std::recursive_mutex::", "std::timed_mutex::", "std::recursive_timed_mutex::", "std::shared_mutex::",
      "std::shared_timed_mutex::", "std::__shared_mutex_pthread::", "std::__mutex_base::", "std::__recursive_mutex_base::",
      "std::lock_guard<", "std::unique_lock<", "std::shared_lock<", "std::scoped_lock<", "std::lock<", "std::condition_variable::",
      "std::condition_variable_any::", "std::_V2::condition_variable_any::", "std::__condvar::", "std::call_once<", "std::once_flag::",
      "std::__future_base::", "std::__basic_future<", "std::future<", "std::shared_future<", "std::promise<",
      "std::__atomic_futex_unsigned<", "std::__atomic_futex_unsigned_base::", "std::__detail::__waiter", "std::counting_semaphore<",
      "std::__atomic_semaphore", "std::latch::", "std::barrier<", "std::__atomic_wait", "std::__glibcxx_rwlock", "std::__invoke",
      "std::thread::_", "std::_Function_handler<", "std::function<", "std::__future_base", "std::__try_lock", "std::__lock_impl",
      "std::__detail::__try_lock", "std::packaged_task<", "std::async<"});
  static constexpr std::array kPlain = std::to_array<std::string_view>({
      "pthread_", "__pthread_", "__gthread_", "__gthrw_", "mtx_", "cnd_", "thrd_", "__cxa_guard_", "sem_wait", "sem_post", "sem_timedwait",
      "sem_clockwait", "call_once", "std::atomic_wait", "std::__atomic_notify", "__libc_start_", "__clone"});
  // Also how threads and programs begin.
  static constexpr std::array kNames = std::to_array<std::string_view>(
      {"syscall", "std::thread::join", "std::jthread::join", "sem_trywait", "_start", "clone", "clone3", "start_thread",
       "execute_native_thread_routine", "std::execute_native_thread_routine"});
  auto starts = [&](std::string_view prefix) { return function.starts_with(prefix); };
  // libstdc++'s versions of itself: std::__1:: and std::_V2:: do not matter to who reads.
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), starts) || std::any_of(kPlain.begin(), kPlain.end(), starts) ||
         std::find(kNames.begin(), kNames.end(), function) != kNames.end();
}

Symbols::File::~File() {
  if (dwfl != nullptr) dwfl_end(dwfl);
}

// libdwfl would go through all symbols for each address, which is much where there are a hundred thousand.
const Symbols::File::Named* Symbols::File::named_at(GElf_Addr address) {
  if (!names_known_) {
    names_known_ = true;
    const int count = dwfl_module_getsymtab(module);
    for (int i = 1; i < count; ++i) {
      GElf_Sym symbol;
      GElf_Addr begin = 0;
      GElf_Word section = 0;
      const char* name = dwfl_module_getsym_info(module, i, &symbol, &begin, &section, nullptr, nullptr);
      const int type = GELF_ST_TYPE(symbol.st_info);
      const bool is_function = type == STT_FUNC || type == STT_GNU_IFUNC;
      if (name == nullptr || *name == '\0' || section == SHN_UNDEF || symbol.st_size == 0 || (!is_function && type != STT_OBJECT)) continue;
      const int binding = GELF_ST_BIND(symbol.st_info);
      names_.push_back({begin, begin + symbol.st_size, name, !is_function, binding == STB_GLOBAL ? 2 : binding == STB_WEAK ? 1 : 0});
    }
    std::stable_sort(names_.begin(), names_.end(),
                     [](const Named& a, const Named& b) { return a.begin != b.begin ? a.begin < b.begin : a.rank < b.rank; });
  }
  auto after = std::upper_bound(names_.begin(), names_.end(), address, [](GElf_Addr at, const Named& named) { return at < named.begin; });
  return after != names_.begin() && address < std::prev(after)->end ? &*std::prev(after) : nullptr;
}

const char* Symbols::File::function_at(GElf_Addr address) {
  if (const Named* named = named_at(address); named != nullptr) return named->is_object ? nullptr : named->name;
  // Hand-written code has symbols without a size: libdwfl knows where it ends.
  GElf_Off offset = 0;
  GElf_Sym symbol;
  const char* name = dwfl_module_addrinfo(module, address, &offset, &symbol, nullptr, nullptr, nullptr);
  return name != nullptr && GELF_ST_TYPE(symbol.st_info) != STT_OBJECT ? name : nullptr;
}

const Symbols::File::Named* Symbols::File::object_at(GElf_Addr address) {
  const Named* named = named_at(address);
  return named != nullptr && named->is_object ? named : nullptr;
}

Symbols::Symbols() = default;
Symbols::~Symbols() = default;

Symbols::File* Symbols::file(const std::string& path, std::string_view build_id) {
  auto [place, is_new] = files_.try_emplace(path);
  if (is_new) place->second = std::make_unique<File>();
  File& file = *place->second;
  if (!is_new) return &file;
  if (path.empty() || path[0] != '/') return &file;
  file.dwfl = dwfl_begin(&kCallbacks);
  if (file.dwfl == nullptr) return &file;
  dwfl_report_begin(file.dwfl);
  Dwfl_Module* module = dwfl_report_offline(file.dwfl, path.c_str(), path.c_str(), -1);
  dwfl_report_end(file.dwfl, nullptr, nullptr);
  if (module == nullptr) return &file;
  const unsigned char* bits = nullptr;
  GElf_Addr where = 0;
  GElf_Addr bias = 0;
  if (dwfl_module_getelf(module, &bias) == nullptr) return &file;
  const int size = dwfl_module_build_id(module, &bits, &where);
  const std::string found = size > 0 ? hexadecimal(bits, static_cast<size_t>(size)) : std::string();
  if (!build_id.empty() && found != build_id) return &file;  // replaced since
  file.module = module;
  file.bias = bias;
  file.build_id = found;
  return &file;
}

namespace {

template <typename File>
void add_lines(File& file, uint64_t address, const CodeLine& common, Trace* lines) {
  Dwfl_Module* const module = file.module;
  const GElf_Addr bias = file.bias;
  const Dwarf_Addr at = address + bias;
  CodeLine line = common;
  if (Dwfl_Line* source = dwfl_module_getsrc(module, at); source != nullptr) {
    int number = 0;
    if (const char* name = dwfl_lineinfo(source, nullptr, &number, nullptr, nullptr, nullptr); name != nullptr) {
      line.file = printable(name);
      line.line = number > 0 ? static_cast<unsigned>(number) : 0;
    }
  }
  Dwarf_Addr die_bias = 0;
  Dwarf_Die* unit = dwfl_module_addrdie(module, at, &die_bias);
  Dwarf_Die* scopes = nullptr;
  int count = unit == nullptr ? 0 : dwarf_getscopes(unit, at - die_bias, &scopes);
  Dwarf_Die* nested = nullptr;
  if (count > 0) {
    const int all = dwarf_getscopes_die(&scopes[0], &nested);
    for (int i = 0; i < all; ++i) {
      if (!is_function(&nested[i])) continue;
      line.function = function_name(&nested[i]);
      line.inlined = dwarf_tag(&nested[i]) == DW_TAG_inlined_subroutine;
      lines->push_back(line);
      if (!line.inlined) break;
      line = common;
      call_site(&nested[i], unit, &line);
    }
  }
  std::free(nested);
  std::free(scopes);
  if (!lines->empty()) return;
  if (const char* name = file.function_at(at); name != nullptr) line.function = demangled(name);
  lines->push_back(line);
}

}  // namespace

const Trace& Symbols::code(const std::string& path, uint64_t address, std::string_view build_id) {
  File& in = *file(path, build_id);
  auto [place, is_new] = in.lines.try_emplace(address);
  Trace& lines = place->second;
  if (!is_new) return lines;
  CodeLine common;
  common.module = printable(path);
  common.build_id = in.module != nullptr ? in.build_id : printable(build_id);
  common.offset = address;
  if (in.module != nullptr)
    add_lines(in, address, common, &lines);
  else
    lines.push_back(common);
  for (CodeLine& line : lines) line.folded = is_wrapper(line.function);
  return lines;
}

}  // namespace causeway::findings
