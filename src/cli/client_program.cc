#include "cli/client_program.h"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace causeway::cli {
namespace {

constexpr unsigned kMaxInterpreters = 4;  // "#!" lines that name scripts, as in Linux
constexpr unsigned kMaxSections = 4096;

#if defined(__x86_64__)
constexpr unsigned kOwnMachine = EM_X86_64;
#else
constexpr unsigned kOwnMachine = EM_AARCH64;
#endif

std::optional<std::string> search(const std::string& name) {
  if (name.find('/') != std::string::npos) return name;
  const char* path = std::getenv("PATH");
  for (std::string_view rest = path != nullptr ? path : "/usr/bin:/bin"; !rest.empty();) {
    std::string_view directory = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), directory.size() + 1));
    std::string candidate = fmt::format("{}/{}", directory.empty() ? "." : directory, name);
    struct stat info;
    if (::access(candidate.c_str(), X_OK) == 0 && ::stat(candidate.c_str(), &info) == 0 && S_ISREG(info.st_mode))
      return candidate;
  }
  return std::nullopt;
}

template <typename T>
bool read_at(int fd, uint64_t offset, T* value, size_t count = 1) {
  return ::pread(fd, value, sizeof(T) * count, static_cast<off_t>(offset)) == static_cast<ssize_t>(sizeof(T) * count);
}

bool has_interpreter(int fd, const Elf64_Ehdr& header) {
  std::vector<Elf64_Phdr> segments(header.e_phnum);
  if (header.e_phentsize != sizeof(Elf64_Phdr) || !read_at(fd, header.e_phoff, segments.data(), segments.size()))
    return false;
  for (const Elf64_Phdr& segment : segments)
    if (segment.p_type == PT_INTERP) return true;
  return false;
}

// The Go linker leaves a note section of this name.
bool is_go(int fd, const Elf64_Ehdr& header) {
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0 || header.e_shnum > kMaxSections ||
      header.e_shstrndx >= header.e_shnum)
    return false;
  std::vector<Elf64_Shdr> sections(header.e_shnum);
  if (!read_at(fd, header.e_shoff, sections.data(), sections.size())) return false;
  const Elf64_Shdr& names = sections[header.e_shstrndx];
  if (names.sh_size > (1 << 20)) return false;
  std::string text(names.sh_size, '\0');
  if (!read_at(fd, names.sh_offset, text.data(), text.size())) return false;
  return text.find(std::string_view(".note.go.buildid\0", 17)) != std::string::npos;
}

}  // namespace

Result<ClientProgram> ClientProgram::find(const std::string& name, std::string* reason) {
  std::optional<std::string> path = search(name);
  if (!path) {
    *reason = fmt::format("there is no program '{}' in PATH", name);
    return fail(ENOENT, "no such program");
  }
  ClientProgram program;
  program.path = *path;
  std::string examined = *path;
  for (unsigned depth = 0; depth <= kMaxInterpreters; ++depth) {
    UniqueFd fd(::open(examined.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info;
    if (!fd || ::fstat(fd.get(), &info) != 0 || ::access(examined.c_str(), X_OK) != 0) {
      int error = errno;
      *reason = fmt::format("cannot execute '{}': {}", examined, std::strerror(error));
      return fail(error, "cannot execute the program");
    }
    char start[256] = {};
    ssize_t size = ::pread(fd.get(), start, sizeof start - 1, 0);
    if (size >= 2 && start[0] == '#' && start[1] == '!') {
      std::string_view line(start + 2, strcspn(start + 2, "\n"));
      size_t begin = line.find_first_not_of(" \t");
      if (begin == std::string_view::npos) break;
      line.remove_prefix(begin);
      examined = std::string(line.substr(0, line.find_first_of(" \t")));
      program.interpreted = examined;
      continue;
    }
    Elf64_Ehdr header;
    if (!read_at(fd.get(), 0, &header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) break;
    if ((info.st_mode & (S_ISUID | S_ISGID)) != 0 && ::geteuid() != 0) {
      program.linking = Linking::kSetuid;
    } else if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != kOwnMachine) {
      program.linking = Linking::kForeign;
    } else {
      program.linking = has_interpreter(fd.get(), header) ? Linking::kDynamic : Linking::kStatic;
      program.makes_own_system_calls = is_go(fd.get(), header);
    }
    return program;
  }
  *reason = fmt::format("'{}' is not a program: neither an ELF file nor a script with '#!'", examined);
  return fail(ENOEXEC, "not a program");
}

}  // namespace causeway::cli
