// The ELF note by which a file says that it is a Causeway kernel, what it is called, and which
// handover formats it reads (preflight.h).
//
//   owner "Causeway", type 1, description: release NUL, then each compatible string NUL, in one block
//
// Every kernel binary compiles image_note_main.cc with its own CW_KERNEL_RELEASE (CMake: causeway_kernel_image).
#pragma once

#include <cstdint>

namespace causeway::kernel {

inline constexpr char kNoteOwner[] = "Causeway";
inline constexpr uint32_t kNoteKernel = 1;
inline constexpr char kNoteSection[] = ".note.causeway";

}  // namespace causeway::kernel
