// The choice of the algorithm and of the ISA level.
#pragma once

#include <string>

#include "cpu/plan.h"

namespace torchconv::cpu {

// The algorithm's plan for a level and so many threads, and null; or the reason why it does not apply: its
// own, scratch memory beyond the limit, or padding so far that sizes of its plan would not fit into 64 bits.
// The reference alone takes such shapes.
const char* try_plan(const Algorithm& algorithm, Op op, const Conv2dShape& shape, Isa isa,
                     int64_t threads, Plan& plan);

// The forced algorithm where it applies, else the first of the list that does, and its plan for the level in
// use and so many threads. One whose sums the call does not allow does not apply.
const Algorithm& select_algorithm(Op op, const Conv2dShape& shape, Winograd winograd,
                                  int64_t threads, Plan& plan);

// The same of those that compute an input gradient where padding repeats elements of the input; null where none does,
// or another algorithm is forced.
const Algorithm* select_folding(const Conv2dShape& shape, Winograd winograd, int64_t threads,
                                Plan& plan);

// One line per algorithm up to the one that runs: its name and why it does or does not.
std::string explain_choice(Op op, const Conv2dShape& shape, Winograd winograd);

// An empty name ends the forcing; false if there is no such algorithm.
bool force_algorithm(const std::string& name);
const Algorithm* forced_algorithm();  // or null

// The level in use: forced, else TORCHCONV_ISA, else the best that the CPU has.
Isa isa_in_use();
bool isa_is_forced();
const char* isa_name(Isa isa);

// An empty name ends the forcing; false if the level is unknown or the CPU lacks it.
bool force_isa(const std::string& name);

}  // namespace torchconv::cpu
