/* A custom operation for tests: StopgapTestDouble(x: int64) -> y: int64. It needs TensorFlow's C API and no headers. */
#include <stddef.h>
#include <stdint.h>

typedef struct TF_Status TF_Status;
typedef struct TF_Tensor TF_Tensor;
typedef struct TF_OpDefinitionBuilder TF_OpDefinitionBuilder;
typedef struct TF_KernelBuilder TF_KernelBuilder;
typedef struct TF_OpKernelContext TF_OpKernelContext;

extern TF_Status *TF_NewStatus(void);
extern void TF_DeleteStatus(TF_Status *);
extern TF_OpDefinitionBuilder *TF_NewOpDefinitionBuilder(const char *);
extern void TF_OpDefinitionBuilderAddInput(TF_OpDefinitionBuilder *, const char *);
extern void TF_OpDefinitionBuilderAddOutput(TF_OpDefinitionBuilder *, const char *);
extern void TF_RegisterOpDefinition(TF_OpDefinitionBuilder *, TF_Status *);
extern TF_KernelBuilder *TF_NewKernelBuilder(const char *, const char *, void *(*)(void *),
                                             void (*)(void *, TF_OpKernelContext *), void (*)(void *));
extern void TF_RegisterKernelBuilder(const char *, TF_KernelBuilder *, TF_Status *);
extern void TF_GetInput(TF_OpKernelContext *, int, TF_Tensor **, TF_Status *);
extern void TF_SetOutput(TF_OpKernelContext *, int, const TF_Tensor *, TF_Status *);
extern TF_Tensor *TF_AllocateTensor(int, const int64_t *, int, size_t);
extern int TF_NumDims(const TF_Tensor *);
extern int64_t TF_Dim(const TF_Tensor *, int);
extern size_t TF_TensorByteSize(const TF_Tensor *);
extern void *TF_TensorData(const TF_Tensor *);
extern void TF_DeleteTensor(TF_Tensor *);

enum { INT64 = 9, MOST_DIMENSIONS = 254 };

static void compute(void *kernel, TF_OpKernelContext *context) {
  (void)kernel;
  TF_Status *status = TF_NewStatus();
  TF_Tensor *x;
  TF_GetInput(context, 0, &x, status);
  int64_t shape[MOST_DIMENSIONS];
  for (int i = 0; i < TF_NumDims(x); ++i) shape[i] = TF_Dim(x, i);
  size_t size = TF_TensorByteSize(x);
  TF_Tensor *y = TF_AllocateTensor(INT64, shape, TF_NumDims(x), size);
  const int64_t *from = TF_TensorData(x);
  int64_t *to = TF_TensorData(y);
  for (size_t i = 0; i < size / sizeof *to; ++i) to[i] = 2 * from[i];
  TF_SetOutput(context, 0, y, status);
  TF_DeleteTensor(x);
  TF_DeleteTensor(y);
  TF_DeleteStatus(status);
}

__attribute__((constructor)) static void register_op(void) {
  TF_Status *status = TF_NewStatus();
  TF_OpDefinitionBuilder *op = TF_NewOpDefinitionBuilder("StopgapTestDouble");
  TF_OpDefinitionBuilderAddInput(op, "x: int64");
  TF_OpDefinitionBuilderAddOutput(op, "y: int64");
  TF_RegisterOpDefinition(op, status);
  TF_RegisterKernelBuilder("StopgapTestDouble", TF_NewKernelBuilder("StopgapTestDouble", "CPU", NULL, compute, NULL),
                           status);
  TF_DeleteStatus(status);
}
