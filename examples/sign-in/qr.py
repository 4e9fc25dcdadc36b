"""A QR code for a short text (ISO/IEC 18004): bytes, error correction L, versions 1 to 5, which are one block each."""

# Version: data codewords, error correction codewords.
SIZES = {1: (19, 7), 2: (34, 10), 3: (55, 15), 4: (80, 20), 5: (108, 26)}
# The format for level L and mask 0, with its error correction: 15 bits.
FORMAT = 0b111011111000100


def matrix(text):
    """The rows of the code, each a text of `0` and `1`. At most 106 bytes fit."""
    data = text.encode()
    version = next((v for v, (capacity, _) in SIZES.items() if len(data) + 2 <= capacity), None)
    if version is None:
        raise ValueError(f"expected at most 106 bytes for a QR code, got {len(data)}")
    size = 17 + 4 * version
    cells = [[None] * size for _ in range(size)]
    draw_patterns(cells, size, version)
    draw_data(cells, size, codewords(data, *SIZES[version]))
    return ["".join(str(cell) for cell in row) for row in cells]


def codewords(data, capacity, corrections):
    bits = "0100" + f"{len(data):08b}" + "".join(f"{byte:08b}" for byte in data)
    bits += "0" * min(4, capacity * 8 - len(bits))
    bits += "0" * (-len(bits) % 8)
    words = [int(bits[index:index + 8], 2) for index in range(0, len(bits), 8)]
    words += [(0xEC, 0x11)[index % 2] for index in range(capacity - len(words))]
    return words + remainder(words, corrections)


def multiplied(a, b):
    """In the field of 256 elements that the standard names (polynomial 0x11d)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= 0x11D
        b >>= 1
    return product


def remainder(words, corrections):
    """Reed-Solomon."""
    generator, root = [1], 1
    for _ in range(corrections):
        generator = [
            left ^ multiplied(right, root) for left, right in zip(generator + [0], [0] + generator)]
        root = multiplied(root, 2)
    rest = list(words) + [0] * corrections
    for index in range(len(words)):
        factor = rest[index]
        for offset, coefficient in enumerate(generator):
            rest[index + offset] ^= multiplied(coefficient, factor)
    return rest[len(words):]


def draw_patterns(cells, size, version):
    def finder(row, column):
        for y in range(-1, 8):
            for x in range(-1, 8):
                if 0 <= row + y < size and 0 <= column + x < size:
                    ring = max(abs(y - 3), abs(x - 3))
                    cells[row + y][column + x] = int(ring in (0, 1, 3))

    for row, column in ((0, 0), (0, size - 7), (size - 7, 0)):
        finder(row, column)
    if version > 1:
        for y in range(-2, 3):
            for x in range(-2, 3):
                cells[size - 7 + y][size - 7 + x] = int(max(abs(y), abs(x)) != 1)
    for index in range(8, size - 8):
        cells[6][index] = cells[index][6] = 1 - index % 2
    bits = [FORMAT >> index & 1 for index in range(15)]
    beside = [0, 1, 2, 3, 4, 5, 7, 8]
    for index in range(8):
        cells[beside[index]][8] = bits[index]
        cells[8][size - 1 - index] = bits[index]
    for index in range(8, 15):
        cells[8][beside[14 - index]] = bits[index]
        cells[size - 15 + index][8] = bits[index]
    cells[size - 8][8] = 1


def draw_data(cells, size, words):
    bits = [word >> shift & 1 for word in words for shift in range(7, -1, -1)]
    upwards = True
    column = size - 1
    while column > 0:
        if column == 6:
            column -= 1
        for row in range(size - 1, -1, -1) if upwards else range(size):
            for x in (column, column - 1):
                if cells[row][x] is None:
                    bit = bits.pop(0) if bits else 0
                    cells[row][x] = bit ^ int((row + x) % 2 == 0)
        upwards = not upwards
        column -= 2
