/// Which partition numbers are being asked about, and which of them together. A number that did not answer is asked alone until
/// it does, so that it delays none of the others. A pure value.
struct Asking: Sendable {
    private var open: Set<Int32> = []
    private var silent: Set<Int32> = []

    /// Splits those of `numbers` that are not being asked about into questions: one for all that answer, one for each that
    /// does not.
    mutating func questions(for numbers: [Int32]) -> [[Int32]] {
        let free = numbers.filter { !open.contains($0) }
        open.formUnion(free)
        let together = free.filter { !silent.contains($0) }
        return (together.isEmpty ? [] : [together]) + free.filter(silent.contains).map { [$0] }
    }

    /// The question about this number has ended.
    mutating func answered(_ number: Int32, isAnswering: Bool) {
        open.remove(number)
        if isAnswering { silent.remove(number) } else { silent.insert(number) }
    }
}
