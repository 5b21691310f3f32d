#include "kernel/preflight.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/core.h>
#include <gelf.h>
#include <libelf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <optional>

#include "base/unique_fd.h"
#include "kernel/image_note.h"

namespace causeway::kernel {

namespace {

struct ElfCloser {
  void operator()(Elf* elf) const { elf_end(elf); }
};
using ElfHandle = std::unique_ptr<Elf, ElfCloser>;

// The strings of a block of NUL-terminated ones. An unterminated tail is dropped.
std::vector<std::string> split_strings(std::string_view block) {
  std::vector<std::string> strings;
  for (size_t end; (end = block.find('\0')) != std::string_view::npos; block.remove_prefix(end + 1))
    strings.emplace_back(block.substr(0, end));
  return strings;
}

std::string to_hex(std::string_view bytes) {
  std::string hex;
  for (unsigned char byte : bytes) hex += fmt::format("{:02x}", byte);
  return hex;
}

// Calls `visit(owner, type, description)` for every note of the file. libelf checks all bounds.
template <typename Visit>
void for_each_note(Elf* elf, Visit visit) {
  for (Elf_Scn* section = nullptr; (section = elf_nextscn(elf, section)) != nullptr;) {
    GElf_Shdr header;
    if (gelf_getshdr(section, &header) == nullptr || header.sh_type != SHT_NOTE) continue;
    Elf_Data* data = elf_getdata(section, nullptr);
    if (data == nullptr || data->d_buf == nullptr) continue;
    const char* bytes = static_cast<const char*>(data->d_buf);
    GElf_Nhdr note;
    size_t name_at = 0, description_at = 0;
    for (size_t at = 0; (at = gelf_getnote(data, at, &note, &name_at, &description_at)) > 0;) {
      std::string_view owner(bytes + name_at, note.n_namesz > 0 ? note.n_namesz - 1 : 0);
      visit(owner, note.n_type, std::string_view(bytes + description_at, note.n_descsz));
    }
  }
}

}  // namespace

Result<Target> preflight(const std::string& path, std::string_view format, std::string* reason) {
  std::string ignored;
  std::string& why = reason != nullptr ? *reason : ignored;

  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd || ::fstat(fd.get(), &info) != 0) {
    why = fmt::format("cannot open the kernel {}: {}; name an existing kernel binary", path, std::strerror(errno));
    return fail_with_errno("cannot open the kernel");
  }
  if (!S_ISREG(info.st_mode) || ::access(path.c_str(), X_OK) != 0) {
    why = fmt::format("{} is not an executable file; chmod +x it or name another", path);
    return fail(EACCES, "the kernel is not an executable file");
  }

  elf_version(EV_CURRENT);
  ElfHandle elf(elf_begin(fd.get(), ELF_C_READ, nullptr));
  GElf_Ehdr header;
  if (!elf || elf_kind(elf.get()) != ELF_K_ELF || gelf_getehdr(elf.get(), &header) == nullptr ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
      (header.e_type != ET_EXEC && header.e_type != ET_DYN)) {
    why = fmt::format("{} is not an x86-64 ELF program", path);
    return fail(ENOEXEC, "not a program of this machine");
  }

  Target target{.path = path, .release = {}, .build_id = {}, .formats = {}};
  bool found = false;
  for_each_note(elf.get(), [&](std::string_view owner, uint32_t type, std::string_view description) {
    if (owner == "GNU" && type == NT_GNU_BUILD_ID) target.build_id = to_hex(description);
    if (owner != kNoteOwner || type != kNoteKernel) return;
    std::vector<std::string> strings = split_strings(description);
    if (strings.empty()) return;
    found = true;
    target.release = strings.front();
    target.formats.assign(strings.begin() + 1, strings.end());
  });
  if (!found) {
    why = fmt::format("{} is a program but not a Causeway kernel: it has no {} note", path, kNoteSection);
    return fail(ENOEXEC, "not a kernel");
  }
  if (std::find(target.formats.begin(), target.formats.end(), format) == target.formats.end()) {
    std::string formats;
    for (const std::string& known : target.formats) formats += (formats.empty() ? "" : ", ") + known;
    why = fmt::format("{} (release {}) reads handovers of {}, want {}; it would boot cold and lose everything",
                      path, target.release, formats.empty() ? "no format" : formats, format);
    return fail(EPROTONOSUPPORT, "the kernel cannot read the handover of this one");
  }
  return target;
}

}  // namespace causeway::kernel
