#include "cli/programs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

namespace causeway::cli {
namespace {

Result<std::string> read_link(const std::string& link) {
  std::error_code error;
  std::filesystem::path target = std::filesystem::read_symlink(link, error);
  if (error) return fail(error.value(), "cannot read the link of a running program");
  return target.string();
}

}  // namespace

Result<std::string> program_path(std::string_view name) {
  std::filesystem::path own = CW_TRY(read_link("/proc/self/exe"));
  std::filesystem::path path = own.parent_path() / name;
  if (::access(path.c_str(), F_OK) != 0) return fail(ENOENT, "a program of this installation is missing");
  return path.string();
}

Result<std::string> library_path(std::string_view name) {
  std::filesystem::path own = CW_TRY(read_link("/proc/self/exe"));
  for (const char* directory : {"lib", "lib/causeway"}) {
    std::filesystem::path path = own.parent_path().parent_path() / directory / name;
    if (::access(path.c_str(), R_OK) == 0) return path.string();
  }
  return fail(ENOENT, "a library of this installation is missing");
}

Result<std::string> program_of_process(int pid) { return read_link(fmt::format("/proc/{}/exe", pid)); }

std::string_view other_kernel(std::string_view running) {
  size_t slash = running.rfind('/');
  std::string_view name = slash == std::string_view::npos ? running : running.substr(slash + 1);
  return name == kNextKernelProgram ? kKernelProgram : kNextKernelProgram;
}

std::string absolute_path(const std::string& path) {
  std::error_code error;
  std::filesystem::path absolute = std::filesystem::absolute(path, error);
  return error ? path : absolute.lexically_normal().string();
}

}  // namespace causeway::cli
