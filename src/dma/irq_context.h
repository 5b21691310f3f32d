// Whether the calling thread stands for code that runs with interrupts disabled: what sleeps must not be called there.
//
//   {
//     IrqsOff section;                      // local_irq_save()
//     free_coherent(device, ring);          // warns: it may have to unmap, and that sleeps
//   }
//
// Nothing is really disabled. Sections nest.
#pragma once

namespace causeway::dma {

class IrqsOff {
 public:
  IrqsOff() { ++depth(); }
  ~IrqsOff() { --depth(); }
  IrqsOff(const IrqsOff&) = delete;
  IrqsOff& operator=(const IrqsOff&) = delete;

  // irqs_disabled(), of this thread.
  static bool here() { return depth() != 0; }

 private:
  static unsigned& depth() {
    thread_local unsigned sections = 0;
    return sections;
  }
};

}  // namespace causeway::dma
