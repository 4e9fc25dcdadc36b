import DequeModule

/// The positions from which the next owner of the partition must read `receipts` and `resolutions` again, to find every
/// fact about a live challenge.
/// A fact may be much older than the record that needs it, for example attempt `t1` of a challenge that was received
/// minutes ago. A position must therefore be safe for every challenge that has not expired, and for every record that
/// is not read yet. Positions are offsets, never times in records. At one instant, the positions of the two topics are
/// taken first, then the end of `challenges`. Records at or after this end were written later, and so were the facts
/// about them, except records that an outbox delivered out of order. A minute is added for these.
struct FactPositions: Hashable, Sendable {
    /// Challenges that were first dispatched at or after `start` in `challenges`, up to the next span.
    struct Span: Hashable, Sendable {
        var start: Int64
        var receipts: Int64
        var resolutions: Int64
        /// Expiry of the last of its challenges in epoch milliseconds.
        var expiresAtMs: Int64
    }

    private struct Sample: Hashable, Sendable {
        let steadyMs: Int64
        let receipts: Int64
        let resolutions: Int64
    }

    /// Interval at which a span begins.
    static let spanMs: Int64 = 10_000
    /// How long before its challenge a fact may have been written.
    static let marginMs: Int64 = 60_000

    /// Ascending; never empty.
    private(set) var spans: [Span]
    private var samples: Deque<Sample> = []

    /// - Parameter spans: the spans that the previous owner committed; empty: everything is read.
    init(spans: [Span]) {
        self.spans = spans.isEmpty ? [Span(start: 0, receipts: 0, resolutions: 0, expiresAtMs: 0)] : spans
    }

    /// The position at which reading begins.
    var receipts: Int64 { spans[0].receipts }
    var resolutions: Int64 { spans[0].resolutions }

    /// Call it when a dispatch was read.
    mutating func note(offset: Int64, expiresAtMs: Int64) {
        let index = spans.lastIndex { $0.start <= offset } ?? 0
        spans[index].expiresAtMs = max(spans[index].expiresAtMs, expiresAtMs)
    }

    /// - Parameters:
    ///   - challengesEnd: the end of `challenges`, queried after `receipts` and `resolutions` were read up to the given
    ///     positions.
    mutating func checkpoint(steadyMs: Int64, challengesEnd: Int64, receipts: Int64, resolutions: Int64) {
        if let last = samples.last, steadyMs - last.steadyMs < Self.spanMs { return }
        samples.append(Sample(steadyMs: steadyMs, receipts: receipts, resolutions: resolutions))
        // Uses the newest sample that is old enough. Until there is one, the initial positions stay.
        while samples.count > 1, samples[1].steadyMs <= steadyMs - Self.marginMs { samples.removeFirst() }
        guard let safe = samples.first, safe.steadyMs <= steadyMs - Self.marginMs else { return }
        let last = spans[spans.count - 1]
        let span = Span(
            start: max(challengesEnd, last.start), receipts: max(safe.receipts, last.receipts),
            resolutions: max(safe.resolutions, last.resolutions), expiresAtMs: 0)
        if span.start == last.start {
            // Nothing was written since the last span began, so it contains no record.
            spans[spans.count - 1] = Span(
                start: span.start, receipts: span.receipts, resolutions: span.resolutions,
                expiresAtMs: last.expiresAtMs)
        } else {
            spans.append(span)
        }
    }

    /// Removes spans that no live challenge and no uncommitted record needs.
    mutating func prune(committed: Int64, nowMs: Int64) {
        var count = 0
        while count + 1 < spans.count, spans[count].expiresAtMs <= nowMs, spans[count + 1].start <= committed {
            count += 1
        }
        spans.removeFirst(count)
    }

    /// Merges the spans into at most `count`, which cover at least the same facts.
    func merged(to count: Int) -> [Span] {
        guard spans.count > count else { return spans }
        let size = (spans.count + count - 1) / count
        return stride(from: 0, to: spans.count, by: size).map { first in
            var span = spans[first]
            for other in spans[first..<min(first + size, spans.count)] {
                span.expiresAtMs = max(span.expiresAtMs, other.expiresAtMs)
            }
            return span
        }
    }
}
