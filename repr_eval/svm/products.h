/* The two products of a block for one kind of vectors; included by products.c once for each kind.

   The includer defines NAME(x), WIDTH (floats in a vector), COLUMNS (of weights at a time), TARGET (a function's
   attribute), LOAD_HALF(p), LOAD_BRAIN(p), ADD_TO_DOUBLES(p, v), and BY_COLUMNS. */

typedef float NAME(vec) __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));
#define vec NAME(vec)

/* WIDTH numbers of X at p as floats. */
TARGET INLINE vec NAME(load)(enum Kind kind, const char *p)
{
    if (kind == HALF)
        return LOAD_HALF(p);
    if (kind == BRAIN)
        return LOAD_BRAIN(p);
    return *(const vec *)p;
}

/* sums[r][k] += a row's `width` numbers times V's, for `count` (one or two) rows. */
TARGET INLINE void NAME(dot)(
    enum Kind kind, int K, int count, const char *a, const char *b, int64_t width, const vec *W, vec *sums,
    const char *soon, const char *later)
{
    vec s[2][COLUMNS];
    for (int r = 0; r < count; r++)
        EACH(k, K)
            s[r][k] = sums[r * COLUMNS + k];
    for (int64_t j = 0; j < width; j += WIDTH, W += K) {
        const int64_t at = j * size_of(kind);
        __builtin_prefetch(soon + at);
        __builtin_prefetch(later + at);
        const vec x = NAME(load)(kind, a + at);
        const vec z = count == 2 ? NAME(load)(kind, b + at) : x;
        EACH(k, K) {
            s[0][k] += x * W[k];
            if (count == 2)
                s[1][k] += z * W[k];
        }
    }
    for (int r = 0; r < count; r++)
        EACH(k, K)
            sums[r * COLUMNS + k] = s[r][k];
}

/* S = X V^T, tile of columns by tile. */
TARGET INLINE void NAME(forward_of)(enum Kind kind, int K, const struct Block *of)
{
    const int64_t whole = of->d / WIDTH * WIDTH;
    vec *sums = of->space->sums;
    memset(sums, 0, (size_t)of->n * COLUMNS * sizeof(vec));
    for (int64_t j = 0; j < whole; j += TILE) {
        const int64_t width = whole - j < TILE ? whole - j : TILE, at = j * size_of(kind);
        const vec *W = (const vec *)of->W + j / WIDTH * K;
        for (int64_t r = 0; r < of->n; r += 2, sums += 2 * COLUMNS) {
            const char *a = of->rows[r] + at;
            const char *soon = ahead(of, r, at, width * size_of(kind));
            const char *later = ahead(of, r + 1, at, width * size_of(kind));
            if (r + 1 < of->n)
                NAME(dot)(kind, K, 2, a, of->rows[r + 1] + at, width, W, sums, soon, later);
            else
                NAME(dot)(kind, K, 1, a, a, width, W, sums, soon, later);
        }
        sums = of->space->sums;
    }
    for (int64_t r = 0; r < of->n; r++)
        for (int k = 0; k < K; k++) {
            float s = 0;
            for (int l = 0; l < WIDTH; l++)
                s += sums[r * COLUMNS + k][l];
            for (int64_t j = whole; j < of->d; j++)
                s += number(kind, of->rows[r], j) * of->V[k * of->d + j];
            of->S[r * K + k] = s;
        }
}

/* G += M^T X for two vectors of columns; X is packed, [n, 2 * WIDTH]. */
TARGET INLINE void NAME(outer)(enum Kind kind, int K, const char *packed, int64_t n, const float *M, double *G)
{
    vec s[2][COLUMNS];
    EACH(k, K)
        s[0][k] = s[1][k] = (vec){0};
    for (int64_t r = 0; r < n; r++) {
        const vec x = NAME(load)(kind, packed), z = NAME(load)(kind, packed + WIDTH * size_of(kind));
        packed += 2 * WIDTH * size_of(kind);
        EACH(k, K) {
            const float m = M[r * K + k];
            s[0][k] += x * m;
            s[1][k] += z * m;
        }
    }
    for (int h = 0; h < 2; h++)
        EACH(k, K)
            ADD_TO_DOUBLES(G + (h * K + k) * WIDTH, s[h][k]);
}

/* G += M^T X. A tile of X at a time is copied, in the order in which it is read: its rows, too, lie pages apart. */
TARGET INLINE void NAME(adjoint_of)(enum Kind kind, int K, const struct Block *of)
{
    const int64_t item = size_of(kind), group = 2 * WIDTH, n = of->n, whole = of->d / group * group;
    char *packed = of->space->packed;
    for (int64_t j = 0; j < whole; j += TILE) {
        const int64_t width = whole - j < TILE ? whole - j : TILE;
        for (int64_t r = 0; r < n; r++) {
            const char *x = of->rows[r] + j * item, *soon = ahead(of, r, j * item, width * item);
            for (int64_t c = 0; c < width; c += group) {
                __builtin_prefetch(soon + c * item);
                memcpy(packed + (c * n + r * group) * item, x + c * item, group * item);
            }
        }
        for (int64_t c = 0; c < width; c += group)
            NAME(outer)(kind, K, packed + c * n * item, n, of->S, (double *)of->G + (j + c) * K);
    }
    adjoint_rest(kind, K, of, whole);
}

#define FORWARD(kind, K) NAME(forward_of)(kind, K, of)
#define ADJOINT(kind, K) NAME(adjoint_of)(kind, K, of)
TARGET BY_KIND(NAME(forward), FORWARD)
TARGET BY_KIND(NAME(adjoint), ADJOINT)

#undef vec
#undef FORWARD
#undef ADJOINT
