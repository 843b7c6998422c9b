// What the kernels use that has external linkage. A file of isa/ includes it before its level begins:
// compiled for AVX, a function that every file may share would end the process on an older machine.
// tools/check_objects.py finds what is missing here.
#pragma once

#include "cpu/activate/plan.h"
#include "cpu/algorithms.h"
#include "cpu/channel_product/plan.h"
#include "cpu/common/sample_chunks.h"
#include "cpu/dense_channels/padding.h"
#include "cpu/dense_channels/plan.h"
#include "cpu/dense_pixels/plan.h"
#include "cpu/depthwise/plan.h"
#include "cpu/depthwise/reach.h"
#include "cpu/depthwise_grad_weight/plan.h"
#include "cpu/grad_bias/plan.h"
#include "cpu/grad_weight/plan.h"
#include "cpu/grouped_channels/plan.h"
#include "cpu/pointwise/plan.h"
#include "cpu/runtime.h"
#include "cpu/simd/pairs.h"
#include "cpu/simd/scalar.h"
#include "cpu/winograd/plan.h"
#include "cpu/winograd_grad_weight/plan.h"
