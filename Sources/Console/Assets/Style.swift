/// The console's stylesheet: light and dark, from phone to desktop.
enum Style {
    static let text = #"""
        :root {
            color-scheme: light dark;
            --ground: #f3f5f9;
            --card: #ffffff;
            --text: #161c29;
            --soft: #536078;
            --line: #d9dfe9;
            --field: #79839a;
            --accent: #1f56d8;
            --accent-text: #ffffff;
            --accent-soft: #e6edfd;
            --good: #0a6b43;
            --good-soft: #def3e8;
            --bad: #a8231c;
            --bad-soft: #fbe7e5;
            --warn: #6d4a00;
            --warn-soft: #fdf0d0;
            --screen: #eef1f8;
            font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
        }
        @media (prefers-color-scheme: dark) {
            :root {
                --ground: #0f131b;
                --card: #181e2a;
                --text: #edf1f8;
                --soft: #a4afc4;
                --line: #2c3547;
                --field: #7a869f;
                --accent: #8cadff;
                --accent-text: #0b1530;
                --accent-soft: #1c2a4b;
                --good: #76dcab;
                --good-soft: #123222;
                --bad: #ffa89f;
                --bad-soft: #3f1c1a;
                --warn: #ffd584;
                --warn-soft: #382b10;
                --screen: #10151f;
            }
        }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--ground); color: var(--text); min-height: 100dvh; display: flex;
            flex-direction: column; overflow-wrap: break-word; }
        h1, h2, h3, p, ul, ol, dl, figure { margin: 0; }
        ul, ol { padding: 0; list-style: none; }
        h1 { font-size: 1.5rem; line-height: 1.25; letter-spacing: -.01em; }
        h2 { font-size: 1rem; line-height: 1.4; }
        a { color: var(--accent); }
        :focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
        .hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
            white-space: nowrap; }
        .skip { position: absolute; left: -100vw; background: var(--card); padding: .5rem 1rem; z-index: 2; }
        .skip:focus { left: .5rem; top: .5rem; }
        .hint { color: var(--soft); font-size: .875rem; }
        .lead { color: var(--soft); margin-top: .25rem; }

        .top { display: flex; flex-wrap: wrap; align-items: center; gap: .25rem 1.25rem; padding: .5rem 1.25rem;
            background: var(--card); border-bottom: 1px solid var(--line); }
        .brand { display: flex; align-items: center; gap: .4rem; font-weight: 700; font-size: 1.0625rem;
            color: var(--text); text-decoration: none; }
        .brand svg { color: var(--accent); }
        nav ul { display: flex; flex-wrap: wrap; gap: .125rem; }
        nav a { display: block; padding: .375rem .625rem; border-radius: .5rem; color: var(--soft);
            text-decoration: none; }
        nav a:hover { color: var(--text); background: var(--ground); }
        nav a[aria-current] { color: var(--accent); background: var(--accent-soft); font-weight: 600; }
        .who { margin-left: auto; display: flex; align-items: center; gap: .625rem; }

        main { flex: 1; width: 100%; max-width: 84rem; margin: 0 auto; padding: 1.25rem; display: grid; gap: 1.25rem;
            align-content: start; grid-template-columns: minmax(0, 1fr); }
        main:focus { outline: none; }
        section { display: grid; gap: .75rem; align-content: start; grid-template-columns: minmax(0, 1fr); }
        footer { padding: 1rem 1.25rem; color: var(--soft); font-size: .8125rem; text-align: center; }
        .narrow { width: 100%; max-width: 24rem; margin: 2rem auto; }
        .columns { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fit, minmax(min(22rem, 100%), 1fr));
            align-items: start; }
        .columns > section, .card { background: var(--card); border: 1px solid var(--line); border-radius: .875rem;
            padding: 1.125rem 1.25rem; }
        .welcome { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; background: var(--accent-soft);
            border-radius: .875rem; padding: .75rem 1.25rem; }

        .said:empty { display: none; }
        .said { padding: .625rem 1rem; border-radius: .625rem; }
        .said.done { background: var(--good-soft); color: var(--good); }
        .fault { background: var(--bad-soft); color: var(--bad); padding: .625rem 1rem; border-radius: .625rem; }
        .notice { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; }
        .stale #live { opacity: .5; }
        .stale #live::before { content: "The console does not answer. Trying again…"; color: var(--bad); }

        .badge { display: inline-block; padding: .0625rem .5rem; border-radius: 1rem; font-size: .8125rem;
            font-weight: 600; }
        .badge.good { color: var(--good); background: var(--good-soft); }
        .badge.bad { color: var(--bad); background: var(--bad-soft); }
        .badge.warning { color: var(--warn); background: var(--warn-soft); }
        .badge.quiet { color: var(--soft); background: var(--ground); }
        .alarms { display: grid; gap: .375rem; }
        .alarms li { display: flex; gap: .75rem; align-items: baseline; }

        button, .button { font: inherit; font-weight: 600; padding: .4375rem .875rem; border-radius: .5rem;
            border: 1px solid var(--field); background: var(--card); color: var(--text); cursor: pointer;
            text-decoration: none; }
        button:hover, .button:hover { border-color: var(--accent); color: var(--accent); }
        button:disabled { opacity: .55; cursor: progress; }
        button.main, .button.main { background: var(--accent); border-color: var(--accent); color: var(--accent-text); }
        button.main:hover, .button.main:hover { filter: brightness(1.08); color: var(--accent-text); }
        button.good { background: var(--good); border-color: var(--good); color: var(--card); }
        button.bad { border-color: var(--bad); color: var(--bad); }
        td button { font-size: .8125rem; padding: .125rem .625rem; }
        button.link { border: 0; background: none; padding: .125rem .25rem; color: var(--accent);
            text-decoration: underline; font-weight: 500; }
        .field { display: grid; gap: .25rem; align-content: start; }
        label, dt { font-size: .8125rem; font-weight: 600; color: var(--soft); }
        input, select, textarea { font: inherit; color: var(--text); background: var(--card);
            border: 1px solid var(--field); border-radius: .5rem; padding: .4375rem .625rem; max-width: 100%; }
        .choices-line { display: flex; flex-wrap: wrap; gap: .75rem; align-items: end; }
        .check { display: flex; align-items: center; gap: .5rem; }
        .card { display: grid; gap: .75rem; align-content: start; }
        .ask { grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); align-items: end; }
        .ask .check { min-height: 2.25rem; }
        .narrow form { display: grid; gap: .75rem; }

        .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.5rem, 1fr)); gap: .625rem 1rem; }
        .facts dd { margin: 0; font-variant-numeric: tabular-nums; font-weight: 600; }
        /* Positioned, so that the hidden texts of cells scroll with them and do not make the page wider. */
        .wide { overflow-x: auto; position: relative; }
        table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
        th, td { text-align: left; padding: .375rem .75rem .375rem 0; border-bottom: 1px solid var(--line);
            vertical-align: top; }
        thead th { font-size: .8125rem; color: var(--soft); white-space: nowrap; }
        tbody th { font-weight: 600; white-space: nowrap; }
        .wide table { min-width: max-content; }
        td { max-width: 24rem; }

        .chart { width: 100%; height: 4rem; color: var(--accent); border-bottom: 1px solid var(--line); }
        figcaption { font-size: .8125rem; font-weight: 600; color: var(--soft); margin-bottom: .375rem; }
        .funnel { display: grid; gap: .5rem; }
        .stage { display: grid; grid-template-columns: 6rem 1fr; gap: .125rem .75rem; align-items: center; }
        .stage .bar { display: block; grid-column: 1 / -1; }
        .stage .count { text-align: right; font-weight: 600; }
        .stage .hint { grid-column: 1 / -1; }
        .bar .track { fill: var(--ground); }
        .bar .value { fill: var(--accent); }
        .bar .value.full { fill: var(--bad); }
        .gauge { display: inline-flex; gap: .5rem; align-items: center; white-space: nowrap; }
        .until { color: var(--soft); margin-left: .5rem; }
        .count { font-variant-numeric: tabular-nums; }
        .losses { border-left: 3px solid var(--line); margin: .5rem 0 .25rem .75rem; padding-left: .875rem;
            display: grid; gap: .25rem; font-size: .875rem; }
        .losses .count { font-weight: 600; color: var(--bad); }

        .stack { display: grid; gap: 1.25rem; grid-template-columns: minmax(0, 1fr); }
        code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .8125rem; }
        .lanes { display: block; width: 100%; min-width: 44rem; font-size: 11px; }
        .lanes text { fill: var(--text); }
        .lanes .soft { fill: var(--soft); }
        .lanes .name { font-weight: 600; }
        .lanes .rule { stroke: var(--line); }
        .lane.running { fill: var(--accent); }
        .lane.waiting { fill: var(--warn-soft); stroke: var(--warn); stroke-dasharray: 4 2; }
        .lane.shown { fill: var(--good-soft); stroke: var(--good); }
        .lanes .on.running { fill: var(--accent-text); }
        .keys { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-top: .5rem; font-weight: 400; }

        .phones { display: grid; gap: 1.25rem; grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
            align-items: start; }
        .phone { background: var(--card); border: 1px solid var(--line); border-radius: 1.25rem; padding: 1rem;
            display: grid; gap: .75rem; grid-template-columns: minmax(0, 1fr); }
        .phone header { display: flex; flex-wrap: wrap; align-items: baseline; gap: .125rem .625rem; }
        .phone header .badge { margin-left: auto; }
        .phone.ringing { border-color: var(--accent); box-shadow: 0 0 0 3px var(--accent-soft); }
        .screen { background: var(--screen); border-radius: 1rem; padding: 1rem; min-height: 11rem; display: grid;
            gap: .75rem; align-content: center; grid-template-columns: minmax(0, 1fr); }
        .screen .quiet { color: var(--soft); text-align: center; }
        .sheet, .notification { background: var(--card); border: 1px solid var(--line); border-radius: .875rem;
            padding: .875rem 1rem; display: grid; gap: .625rem; }
        .question { font-weight: 650; }
        .ringing .sheet { animation: ring .5s ease-in-out 2; }
        @keyframes ring { 25% { transform: rotate(-1.2deg); } 75% { transform: rotate(1.2deg); } }
        .choices { display: grid; grid-template-columns: 1fr 1fr; gap: .625rem; }
        .switches { display: flex; flex-wrap: wrap; gap: .375rem; }
        .switches button { font-size: .8125rem; padding: .25rem .625rem; }
        .beside { display: grid; gap: .25rem; font-size: .875rem; grid-template-columns: minmax(0, 1fr); }
        summary { cursor: pointer; color: var(--soft); font-weight: 600; }
        .events { display: grid; gap: .125rem; margin-top: .375rem; }
        .events time { color: var(--soft); white-space: nowrap; }
        pre { margin: .375rem 0 0; padding: .75rem; background: var(--screen); border-radius: .5rem; overflow: auto;
            font-size: .75rem; max-height: 16rem; }
        .asked { display: grid; gap: .375rem; }
        .asked li { display: flex; flex-wrap: wrap; gap: .25rem .75rem; align-items: baseline; }
        .number { font-size: 1.25rem; letter-spacing: .08em; color: var(--accent); }

        @media (max-width: 43.75rem) {
            main { padding: .875rem; }
            .top { padding: .5rem .875rem; }
            nav { order: 1; width: 100%; margin: 0 -.5rem; }
        }
        @media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
        """#
}
