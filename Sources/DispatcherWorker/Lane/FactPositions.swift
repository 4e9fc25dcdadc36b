import DequeModule

/// From where `receipts` and `resolutions` have to be read again so that every fact about a challenge that is still live
/// is found, by whoever serves the partition next.
///
/// A fact may be much older than the record it matters to: attempt `t1` of a challenge that was received minutes ago. So
/// a position has to be safe for every challenge that has not expired, and for every record not read yet. Positions are
/// taken by offsets, never by times in records: at an instant, first where the two topics were read up to, then the end
/// of `challenges`. Whatever is at or behind that end was written later, and so were the facts about it, but for what an
/// outbox delivered out of order, for which a minute is added.
struct FactPositions: Hashable, Sendable {
    /// Challenges first dispatched at or behind `start` in `challenges`, up to the next span.
    struct Span: Hashable, Sendable {
        var start: Int64
        var receipts: Int64
        var resolutions: Int64
        /// When the last of its challenges expires, epoch milliseconds.
        var expiresAtMs: Int64
    }

    private struct Sample: Hashable, Sendable {
        let steadyMs: Int64
        let receipts: Int64
        let resolutions: Int64
    }

    /// How often a span begins.
    static let spanMs: Int64 = 10_000
    /// How far facts may be in front of their challenge.
    static let marginMs: Int64 = 60_000

    /// Ascending; never empty.
    private(set) var spans: [Span]
    private var samples: Deque<Sample> = []

    /// - Parameter spans: as committed by who served the partition before; empty: everything is read.
    init(spans: [Span]) {
        self.spans = spans.isEmpty ? [Span(start: 0, receipts: 0, resolutions: 0, expiresAtMs: 0)] : spans
    }

    /// Where reading begins.
    var receipts: Int64 { spans[0].receipts }
    var resolutions: Int64 { spans[0].resolutions }

    /// A dispatch was read.
    mutating func note(offset: Int64, expiresAtMs: Int64) {
        let index = spans.lastIndex { $0.start <= offset } ?? 0
        spans[index].expiresAtMs = max(spans[index].expiresAtMs, expiresAtMs)
    }

    /// - Parameters:
    ///   - challengesEnd: asked after `receipts` and `resolutions` had been read up to the given positions.
    mutating func checkpoint(steadyMs: Int64, challengesEnd: Int64, receipts: Int64, resolutions: Int64) {
        if let last = samples.last, steadyMs - last.steadyMs < Self.spanMs { return }
        samples.append(Sample(steadyMs: steadyMs, receipts: receipts, resolutions: resolutions))
        // The newest sample that is old enough; before there is one, what we began with stays.
        while samples.count > 1, samples[1].steadyMs <= steadyMs - Self.marginMs { samples.removeFirst() }
        guard let safe = samples.first, safe.steadyMs <= steadyMs - Self.marginMs else { return }
        let last = spans[spans.count - 1]
        let span = Span(
            start: max(challengesEnd, last.start), receipts: max(safe.receipts, last.receipts),
            resolutions: max(safe.resolutions, last.resolutions), expiresAtMs: 0)
        if span.start == last.start {
            // Nothing was written since the last span began, so none of its records can be in it.
            spans[spans.count - 1] = Span(
                start: span.start, receipts: span.receipts, resolutions: span.resolutions,
                expiresAtMs: last.expiresAtMs)
        } else {
            spans.append(span)
        }
    }

    /// Forgets what no live challenge and no uncommitted record needs.
    mutating func prune(committed: Int64, nowMs: Int64) {
        var count = 0
        while count + 1 < spans.count, spans[count].expiresAtMs <= nowMs, spans[count + 1].start <= committed {
            count += 1
        }
        spans.removeFirst(count)
    }

    /// At most `count` spans that say the same or ask for more.
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
