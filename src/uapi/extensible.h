// Ioctl arguments that can grow: a structure that starts with its size (u32). An older program passes less than the
// kernel knows, a newer one more.
//
//   const uint32_t size = CW_TRY(read_size(task, argument));              // EFAULT
//   FdRequest request;
//   CW_TRY(read_request(task, argument, size, &request));                 // EINVAL, E2BIG, EFAULT
//   request.fd = fd;
//   CW_TRY(write_response(task, argument, size, request));                // EFAULT
//
// The rules of the kernel's copy_struct_from_user(): what the program does not give is 0, what it gives beyond the
// kernel's structure must be 0. The size that counts is the one read first, whatever the second read finds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "base/result.h"
#include "file/task.h"

namespace causeway::uapi {

Result<uint32_t> read_size(file::Task& task, UserAddr argument);

namespace detail {
// E2BIG: not all of the `size` bytes at `from` are 0; EFAULT.
Status require_zeros(file::Task& task, UserAddr from, uint64_t size);
Status read_struct(file::Task& task, UserAddr argument, uint32_t user_size, std::span<std::byte> to);
}  // namespace detail

// EINVAL: `user_size` is below `minimum` (all of T, if it has not grown yet).
template <typename T>
Status read_request(file::Task& task, UserAddr argument, uint32_t user_size, T* request,
                    uint32_t minimum = sizeof(T)) {
  static_assert(std::is_trivially_copyable_v<T>);
  if (user_size < minimum) return fail(EINVAL, "the argument is smaller than its smallest version");
  return detail::read_struct(task, argument, user_size, std::as_writable_bytes(std::span(request, 1)));
}

// Copies back as much as the program has room for.
template <typename T>
Status write_response(file::Task& task, UserAddr argument, uint32_t user_size, const T& response) {
  static_assert(std::is_trivially_copyable_v<T>);
  return task.copy_to_user(argument, std::as_bytes(std::span(&response, 1))
                                         .first(std::min<size_t>(user_size, sizeof(T))));
}

}  // namespace causeway::uapi
