// Requests for conv2d_int32, whose kernels are on no list of algorithms: "integers" of uint8 images, "signed_integers".
#pragma once

#include "cpu/integer/plan_quads.h"
#include "kernel_host/host.h"

namespace torchconv::host {

// As the levels of tests/cpu_host/__init__.py; null if not compiled, or if the machine has none.
inline const cpu::IntegerKernels* integer_kernels(int64_t level) {
  const cpu::IntegerKernels* const all[] = {&cpu::kPortableIntegers, &cpu::kAvx2Integers,
                                            &cpu::kAvx512Integers, &cpu::kVnniIntegers};
#if defined(__x86_64__)
  const bool has[] = {true, __builtin_cpu_supports("avx2") > 0,
                      __builtin_cpu_supports("avx512bw") > 0,
                      __builtin_cpu_supports("avx512vnni") > 0};
#else
  const bool has[] = {true, false, false, false};
#endif
  return has[level] && all[level]->run ? all[level] : nullptr;
}

inline bool of_integers(const Request& request) {
  return std::strstr(request.algorithm, "integers") != nullptr;
}

// run(plan, run_job) of the plan; 0 without kernels of the level.
template <class Run>
int64_t run_integers(const Request& request, const Run& run) {
  const cpu::IntegerKernels* const kernels = integer_kernels(request.options[0]);
  if (!kernels) return 0;
  cpu::Plan plan;
  plan.clear(cpu::Isa::kPortable, request.options[1]);
  const bool is_signed = !std::strcmp(request.algorithm, "signed_integers");
  cpu::plan_integers(shape_of(request), is_signed, *kernels, plan);
  return run(plan, kernels->run) ? 1 : 2;
}

}  // namespace torchconv::host
