import DequeModule
import Synchronization
import Wire

/// The records that no role could process. An operator can write the listed ones back.
final class DeadLettersPage: Sendable {
    /// A replay that was made here.
    private struct Replay: Sendable {
        let id: String
        let reader: String
        let atMs: Int64
        let report: DeadLetterBox.Report
    }

    /// Replays whose results are still shown.
    private static let mostReplays = 50
    private static let mostIDs = 200
    private static let mostReadings = 4

    private let box: DeadLetterBox
    private let replays = Mutex<Deque<Replay>>([])
    private let readings = Mutex(0)

    init(box: DeadLetterBox) { self.box = box }

    var routes: [ConsoleRoute] {
        [
            ConsoleRoute(path: "/dead-letters", name: "Dead letters", get: { try await self.show($0) }),
            ConsoleRoute(path: "/dead-letters/replays", post: { try await self.replay($0) }),
            ConsoleRoute(path: "/dead-letters/replays/{id}", get: { try self.result($0) }),
        ]
    }

    /// Runs one of a few readings at once: each has a consumer of its own.
    private func reading<Value: Sendable>(_ read: () async throws -> Value) async throws -> Value {
        guard
            readings.withLock({ count in
                guard count < Self.mostReadings else { return false }
                count += 1
                return true
            })
        else {
            throw ConsoleRefusal(status: 503, message: "Others are reading the dead letters: try again in a moment.")
        }
        defer { readings.withLock { $0 -= 1 } }
        do {
            return try await read()
        } catch  where !(error is CancellationError) {
            throw ConsoleRefusal(status: 503, message: "The topic of dead letters cannot be read: \(error)")
        }
    }

    // MARK: - The list

    private func show(_ request: ConsoleRequest) async throws -> Answer {
        let filter = DeadLetterBox.Filter(
            topic: request.item("topic"), reason: request.item("reason"), key: request.item("key"))
        let (letters, isComplete) = try await reading { try await box.list(filter) }
        return .page(
            Page(
                title: "Dead letters",
                still: tag("section") {
                    tag("h1") { "Dead letters" }
                    tag("p", ["class": "lead"]) {
                        "Records that no role could process, newest first. Their contents are shown nowhere."
                    }
                    filterForm(filter)
                    if !isComplete { tag("p") { badge(.warning, "older dead letters were not read") } }
                    letters.isEmpty
                        ? tag("p", ["class": "card"]) { "No record fits." } : listing(letters, request)
                    made(request.nowMs)
                }))
    }

    private func filterForm(_ filter: DeadLetterBox.Filter) -> Escaped {
        tag("form", ["class": "card ask", "action": "/dead-letters"]) {
            field("Topic it came from", id: "topic") {
                tag("select", ["id": "topic", "name": "topic"]) {
                    tag("option", ["value": " "]) { "all" }
                    box.topics.map { topic in
                        tag("option", ["value": topic, "selected": topic == filter.topic ? "" : nil]) { topic }
                    }
                }
            }
            field("Reason (exact)", id: "reason") {
                tag("input", ["id": "reason", "name": "reason", "value": filter.reason, "maxlength": "64"])
            }
            field("Key (exact)", id: "key") {
                tag("input", ["id": "key", "name": "key", "value": filter.key, "maxlength": "256"])
            }
            tag("button") { "Filter" }
        }
    }

    private func listing(_ letters: [DeadLetterBox.Letter], _ request: ConsoleRequest) -> Escaped {
        let newest = letters.sorted { $0.writtenAtMs > $1.writtenAtMs }
        let good = letters.filter { $0.refusal == nil }
        return tag("form", ["class": "card", "method": "post", "action": "/dead-letters/replays"]) {
            table(
                caption: "Dead letters", ["id", "written", "from", "reason", "detail", "key", "bytes", "replay"],
                rows: newest.map { row($0, mayAct: request.reader.mayAct, nowMs: request.nowMs) })
            if request.reader.mayAct, !good.isEmpty {
                tag("div", ["class": "choices-line"]) {
                    ManyAtOnce.confirmation(of: good.count)
                    tag("button", ["class": "main"]) { "Replay the marked records" }
                }
            } else if !request.reader.mayAct {
                tag("p", ["class": "hint"]) { "Only operators may replay." }
            }
        }
    }

    private func row(_ letter: DeadLetterBox.Letter, mayAct: Bool, nowMs: Int64) -> [Escaped] {
        let mark: Escaped =
            if let refusal = letter.refusal {
                badge(.quiet, "refused: \(refusal)")
            } else if mayAct {
                tag("label", ["class": "check"]) {
                    tag("input", ["type": "checkbox", "name": "id", "value": letter.id])
                    "replay"
                    tag("span", ["class": "hidden"]) { " record \(letter.id)" }
                }
            } else {
                badge(.good, "possible")
            }
        return [
            tag("code") { letter.id }, moment(letter.writtenAtMs, nowMs: nowMs), Escaped(letter.topic),
            Escaped(letter.reason), Escaped(letter.detail), tag("code") { letter.key },
            Escaped(Words.count(Double(letter.byteCount))), mark,
        ]
    }

    private func made(_ nowMs: Int64) -> Escaped {
        let replays = replays.withLock { Array($0) }
        guard !replays.isEmpty else { return .nothing }
        return tag("section", ["class": "card", "aria-labelledby": "made"]) {
            tag("h2", ["id": "made"]) { "Replays made here" }
            table(
                caption: "Replays", ["replay", "when", "by", "written back", "not"],
                rows: replays.map { replay in
                    [
                        tag("a", ["href": "/dead-letters/replays/\(replay.id)"]) { tag("code") { replay.id } },
                        moment(replay.atMs, nowMs: nowMs), Escaped(replay.reader),
                        Escaped(String(replay.report.count { $0.refusal == nil })),
                        Escaped(String(replay.report.count { $0.refusal != nil })),
                    ]
                })
        }
    }

    // MARK: - A replay

    private func replay(_ request: ConsoleRequest) async throws -> Answer {
        let ids = try ManyAtOnce.chosen("id", in: request, "record", atMost: Self.mostIDs)
        let id = Hexadecimal.random(digits: 12)
        do {
            try await box.audit("dead-letters.replay", id, request.reader.name)
        } catch {
            throw ConsoleRefusal(
                status: 503, message: "The audit trail cannot be written, so nothing was replayed. Try again later.")
        }
        let report = try await reading { try await box.replay(ids, id) }
        replays.withLock { replays in
            replays.prepend(Replay(id: id, reader: request.reader.name, atMs: request.nowMs, report: report))
            if replays.count > Self.mostReplays { replays.removeLast() }
        }
        return .reply(.redirect("/dead-letters/replays/\(id)"))
    }

    private func result(_ request: ConsoleRequest) throws -> Answer {
        guard let replay = replays.withLock({ $0.first { $0.id == request.values[0] } }) else {
            throw ConsoleRefusal(
                status: 404,
                message: "This console does not know the replay \(request.values[0]) any more. The audit trail has it.")
        }
        let written = replay.report.count { $0.refusal == nil }
        return .page(
            Page(
                title: "Replay \(replay.id)",
                still: tag("section") {
                    tag("h1") { "Replay" }
                    tag("p", ["class": "lead"]) {
                        tag("code") { replay.id }
                        " by \(replay.reader), "
                        moment(replay.atMs, nowMs: request.nowMs)
                    }
                    tag("p") {
                        badge(
                            written == replay.report.count ? .good : .warning,
                            "\(written) of \(replay.report.count) records were written back")
                    }
                    tag("div", ["class": "card"]) {
                        table(
                            caption: "Records of the replay", ["record", "result"],
                            rows: replay.report.map { line in
                                [
                                    tag("code") { line.id },
                                    line.refusal.map { badge(.bad, $0) } ?? badge(.good, "written back"),
                                ]
                            })
                    }
                    tag("p") { tag("a", ["href": "/dead-letters"]) { "To the dead letters" } }
                }))
    }
}
