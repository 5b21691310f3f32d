// Compiled into every kernel binary with its own CW_KERNEL_RELEASE (and, for tests of refusal, CW_KERNEL_FORMATS).
#include <cstdint>

#include "kernel/image_note.h"
#include "kernel/version.h"

#ifndef CW_KERNEL_RELEASE
#error "a kernel binary needs CW_KERNEL_RELEASE"
#endif
#ifndef CW_KERNEL_FORMATS
#define CW_KERNEL_FORMATS "kho-v4\0causeway,kho-typed-v1"
#endif

namespace causeway::kernel {
namespace {

constexpr char kDescription[] = CW_KERNEL_RELEASE "\0" CW_KERNEL_FORMATS;

struct Note {
  uint32_t owner_size = sizeof(kNoteOwner);
  uint32_t description_size = sizeof(kDescription);
  uint32_t type = kNoteKernel;
  char owner[(sizeof(kNoteOwner) + 3) / 4 * 4] = {};
  char description[(sizeof(kDescription) + 3) / 4 * 4] = {};

  constexpr Note() {
    for (uint32_t i = 0; i < sizeof(kNoteOwner); ++i) owner[i] = kNoteOwner[i];
    for (uint32_t i = 0; i < sizeof(kDescription); ++i) description[i] = kDescription[i];
  }
};

extern const Note note;
__attribute__((section(".note.causeway"), used, aligned(4))) constinit const Note note;

}  // namespace

const char* release() { return CW_KERNEL_RELEASE; }

}  // namespace causeway::kernel
