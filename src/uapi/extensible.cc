#include "uapi/extensible.h"

#include <array>
#include <cstring>

namespace causeway::uapi {

Result<uint32_t> read_size(file::Task& task, UserAddr argument) {
  uint32_t size = 0;
  CW_TRY(task.read(argument, &size));
  return size;
}

namespace detail {

Status require_zeros(file::Task& task, UserAddr from, uint64_t size) {
  std::array<std::byte, KiB(4)> bytes;
  for (uint64_t done = 0; done < size;) {
    const uint64_t step = std::min<uint64_t>(size - done, bytes.size());
    uint64_t at = 0;
    if (!checked_add(from.value(), done, &at)) return fail(EFAULT, "the argument wraps around");
    CW_TRY(task.copy_from_user(std::span(bytes).first(step), UserAddr(at)));
    if (std::any_of(bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(step),
                    [](std::byte b) { return b != std::byte{0}; }))
      return fail(E2BIG, "the argument sets fields that this kernel does not know");
    done += step;
  }
  return {};
}

Status read_struct(file::Task& task, UserAddr argument, uint32_t user_size, std::span<std::byte> to) {
  if (user_size > to.size()) {
    uint64_t rest = 0;
    if (!checked_add(argument.value(), to.size(), &rest)) return fail(EFAULT, "the argument wraps around");
    CW_TRY(require_zeros(task, UserAddr(rest), user_size - to.size()));
  }
  const size_t copied = std::min<size_t>(user_size, to.size());
  std::memset(to.data() + copied, 0, to.size() - copied);
  return task.copy_from_user(to.first(copied), argument);
}

}  // namespace detail
}  // namespace causeway::uapi
