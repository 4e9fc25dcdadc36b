/// The schema on PostgreSQL, as numbered steps that are never changed once released. A step has the number of the
/// SQLite step that leads to the same state; SQLite has no steps 13 and 14.
enum PostgresSchema {
    struct Step: Sendable {
        let number: Int
        let name: String
        /// Run in one transaction, one by one.
        let statements: [String]
    }

    /// The first of two numbers of the advisory locks that Beckon takes for itself; the letters `Beck`. The second says
    /// for what: 0 the steps, 1 the days.
    static let advisoryLock = 0x4265_636b

    static let steps = [
        Step(
            number: 10, name: "as SQLite after step 10",
            statements: accounts + credentials + people + factors + challenges + audit + outbox + days),
        Step(number: 11, name: "webhook deliveries", statements: webhookDeliveries),
        Step(
            number: 12, name: "devices that never confirm",
            statements: ["ALTER TABLE factors ADD COLUMN silent bigint NOT NULL DEFAULT 0"]),
        Step(number: 13, name: "views for reports", statements: reports),
        Step(number: 14, name: "who may turn days", statements: daysGuarded),
        Step(number: 15, name: "alerts", statements: alerts),
    ]

    /// The last steps of schemas that this version can serve. The one before the last is among them, so that producers
    /// of two versions serve side by side while `beckon migrate up` runs; the conformance cases run on each.
    static let served = 14...15
}
