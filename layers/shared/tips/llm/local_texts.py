"""What `local/template` says: its sentences, per voice and situation.

`{task}` is a task's title in quotation marks, `{age}` how long it has waited, `{now}` this part of the day, `{note}`
a snippet in quotation marks and `{other}` another one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weave:
    """Variants that join a snippet with a task, by day and at night, and two snippets."""

    task: tuple[str, ...]
    at_night: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Voice:
    """One way of speaking.

    The first five hold variants for one situation; the next two hold (kind, text) of tips that need no task, for a
    part of the day and for any time. A voice with a `weave` joins snippets with tasks and with each other.
    """

    overdue: tuple[str, ...]
    urgent: tuple[str, ...]
    open: tuple[str, ...]
    at_night: tuple[str, ...]
    noted: tuple[str, ...]
    by_part_of_day: dict[str, tuple[tuple[str, str], ...]]
    general: tuple[tuple[str, str], ...]
    weave: Weave | None = None


COACH = Voice(
    overdue=(
        "{task} is overdue. Give it the next ten minutes: open it, finish one piece, then set a date for the rest.",
        "Clear {task} before you open anything else. Set a 15-minute timer and start with the part you can finish.",
        "You have been carrying {task} around{age}. Do its first step now, or delete it and mean it.",
    ),
    urgent=(
        "{task} matters most {now}. Block 25 minutes, put the phone away and begin with the first step.",
        "Make {task} the one thing you finish {now}. Write down its next step and start on it right away.",
    ),
    open=(
        "Pick {task} and name the very first step. If it takes under five minutes, do it before you read on.",
        "Turn {task} into a quick win {now}: 15 minutes on the clock, then decide what is left.",
        "Move {task} forward by one step {now}: open it, do one thing, and write down what comes next.",
    ),
    at_night=(
        "{task} is tomorrow's job. Write its first step on a note, put it where you will see it, and call it a day.",
        "Do not start {task} now. Lay out what it needs, so that tomorrow begins with a running start.",
        "Pick the hour for {task} tomorrow and block it in your calendar now. Then close the list.",
    ),
    noted=(
        "You noted {note}. Decide what that changes {now} and put the answer in your plan.",
        "{note}: turn that into one action you can do {now}, and write it down as a task.",
    ),
    by_part_of_day={
        "morning": (
            (
                "advice",
                "Start with the task you would most like to skip. Half an hour on it now sets the pace of the day.",
            ),
        ),
        "afternoon": (
            (
                "advice",
                "Afternoon dip? Stand up, drink a glass of water and finish one small thing to get moving again.",
            ),
        ),
        "evening": (
            (
                "advice",
                "Close the day in five minutes: tick off what is done and choose the first task for tomorrow.",
            ),
        ),
        "night": (
            (
                "reminder",
                "Set out what you need for tomorrow morning, then put the screen away. Sleep is part of the plan.",
            ),
            (
                "advice",
                "Decide tomorrow's first task now and write it on one line. Then stop: rested beats late.",
            ),
            ("insight", "Work done after this hour is often redone in the morning. Close it here and start fresh."),
        ),
    },
    general=(
        (
            "advice",
            "Write down the one result that would make today a success, and give it your next 25 minutes.",
        ),
        ("advice", "Do the smallest open thing right now. Momentum beats planning."),
        (
            "insight",
            "Every open tab is a decision put off. Close the ones you did not need in the last hour.",
        ),
        ("advice", "Put your phone in another room for 25 minutes and see how far one task gets."),
        ("reminder", "Check what is due this week and give the nearest deadline a time slot today."),
        (
            "advice",
            "Answer in one go: ten minutes for messages now, then nothing but your main task until the next break.",
        ),
        (
            "advice",
            "Take a three-minute walk before the next task. Come back with its first step already decided.",
        ),
        (
            "insight",
            "If a task has moved from list to list, it is too big. Cut off a piece that fits into 15 minutes.",
        ),
        ("reminder", "Ask for what you are waiting for: send that one follow-up message now."),
        ("advice", "Choose three tasks for today and hide the rest of the list until they are done."),
    ),
)

MENTOR = Voice(
    overdue=(
        "{task} has been waiting{age}. Nothing is lost: give it ten quiet minutes and find the smallest next step.",
        "When you are ready, look at {task} first. You need not finish it; opening it and doing one part is enough.",
        "Something that waits{age} often hides an unclear step. Ask what {task} really needs next, and do only that.",
    ),
    urgent=(
        "{task} deserves your clearest hour. Sit down with it {now}, decide on its next step and stay with that.",
        "Let {task} be the only thing in front of you for ten minutes {now}. The rest can wait its turn.",
    ),
    open=(
        "Consider {task} {now}. Name one step small enough for ten minutes, and let that be enough.",
        "{task} can move a little {now}: read what is there, note the next step, and leave it clearer than it was.",
        "If you have ten calm minutes {now}, spend them on {task}, beginning with the part you understand best.",
    ),
    at_night=(
        "{task} will still be there in the morning. Write down where you would begin, and let the day end.",
        "For tonight it is enough to know the first step of {task}. Note it, and rest.",
        "Leave {task} for a rested mind. If it keeps you awake, write down what worries you about it.",
    ),
    noted=(
        "You noted {note}. Take a moment to ask what it needs from you {now}, if anything.",
        "{note}: worth a quiet look. Is there one small thing that would make it easier?",
    ),
    by_part_of_day={
        "morning": (
            (
                "advice",
                "The morning is your clearest time. Choose what needs thought, before messages choose for you.",
            ),
        ),
        "afternoon": (
            (
                "advice",
                "Afternoons are good for finishing. Look for something nearly done, and bring it to its end.",
            ),
        ),
        "evening": (
            (
                "insight",
                "Look back for a minute: what went well today, and what may wait until tomorrow without harm?",
            ),
        ),
        "night": (
            (
                "advice",
                "The day is done. Note the one thought that keeps you busy, and leave it on paper until morning.",
            ),
            (
                "insight",
                "Whatever is still open has time until morning. What went well today? Keep that thought for the night.",
            ),
            ("advice", "Dim the light, put the list away, and let tomorrow bring its own first step."),
        ),
    },
    general=(
        (
            "advice",
            "Before the next task, take three slow breaths and decide what would be enough for today.",
        ),
        (
            "insight",
            "What you keep putting off may only lack a first step. Write that step down in one short sentence.",
        ),
        (
            "advice",
            "Choose one thing and give it ten undivided minutes. You may stop then; often you will not want to.",
        ),
        ("advice", "A short list is kinder than a complete one. Keep the three lines that matter today."),
        (
            "reminder",
            "Is somebody waiting for a word from you? One honest sentence today is better than a long answer later.",
        ),
        (
            "insight",
            "Notice which hour of your day is the quietest, and keep it for the work that needs you most.",
        ),
        (
            "advice",
            "Leave a small gap between two tasks. A minute at the window makes the next beginning easier.",
        ),
        ("reminder", "Look at what is coming this week. Knowing it calmly now saves hurrying later."),
        ("advice", "Finish something small to its very end, and put the things away that belonged to it."),
        (
            "insight",
            "A plan is allowed to change. Cross out what no longer matters, and see how the day feels.",
        ),
    ),
)

EXAMPLES_COACH = Voice(
    overdue=(
        "{task} first: open it, do the part you can finish, and stop there. Ten minutes, and it weighs less.",
        "Begin with {task}: five minutes to see what is missing, ten to close it. The rest of the day gets lighter.",
        "{task} has been waiting{age}: do its shortest step now, and the next one follows by itself.",
    ),
    urgent=(
        "Give {task} your freshest half hour {now}: write down three things it has to achieve. It grows from there.",
        "{task} before messages {now}: thirty minutes, door closed. What comes after it will be easier.",
    ),
    open=(
        "Fit {task} between two bigger things {now}. A few minutes close what has been open.",
        "Start {task} {now} with whatever is already in your hand. Two minutes in, you will know the rest.",
        "One step of {task} is enough {now}: do it, then write one line about what follows.",
    ),
    at_night=(
        "Put everything that {task} needs in one place now. Tomorrow you only have to sit down and begin.",
        "Write one line: where {task} starts tomorrow. Then screens off; sleep does more for it than another hour.",
        "Give {task} a fixed hour tomorrow and set the alarm for it. Two taps, and tonight is free.",
    ),
    noted=(
        "{note}: give that two minutes {now} and take one worry off the list.",
        "Because of {note}: choose the one thing it changes {now}, and do that before the rest.",
    ),
    by_part_of_day={
        "morning": (
            (
                "advice",
                "Hardest thing first: thirty minutes on it before the inbox opens. The rest of the day runs downhill.",
            ),
        ),
        "afternoon": (
            (
                "advice",
                "Finish one nearly finished thing before you start another. Ten minutes, and the list is shorter.",
            ),
        ),
        "evening": (
            (
                "reminder",
                "Choose tomorrow's first task now and lay it ready. The morning starts with it already decided.",
            ),
        ),
        "night": (
            ("advice", "Screens off within the half hour: tomorrow's plan is worth only as much as tonight's sleep."),
            (
                "reminder",
                "Bag packed, alarm set, charger in: two minutes now, and the morning begins without a search.",
            ),
            ("advice", "One line about where tomorrow starts, then lights out. The list sleeps too."),
        ),
    },
    general=(
        (
            "advice",
            "Write today's one result on paper, then work on it for 25 minutes. Everything else is second.",
        ),
        ("advice", "Close the smallest open thing first: two minutes now, and you are already moving."),
        (
            "reminder",
            "Send the one message somebody is waiting for. Three sentences, and it is off your mind.",
        ),
        ("advice", "Phone in another room, timer on 25. One task gets further than you expect."),
        ("insight", "A task that keeps moving is too big: cut off a 15-minute piece and do only that."),
        (
            "reminder",
            "Look up the nearest deadline and give it a place in your day. Two minutes against a bad surprise.",
        ),
        ("advice", "Ten minutes for all messages in one go, then close them. The next hour belongs to you."),
        ("insight", "Half-read tabs cost attention: keep the one you need, close the rest, breathe out."),
        (
            "advice",
            "Walk for three minutes and come back with the first step decided. Then sit down and do it.",
        ),
        ("advice", "Three tasks for today, the rest out of sight. A short list gets done."),
    ),
)

ORCHESTRATOR = Voice(
    overdue=(
        "{task} has been open{age} and meets an hour you have {now}. Put the two together before the next thing comes.",
        "Before you add anything to the day, fit {task} in: a quarter of an hour {now} is enough to make it smaller.",
        "{task} is late. Give up one smaller plan {now} and let it have that place.",
    ),
    urgent=(
        "Let the rest of the list arrange itself around {task} {now}: fix its hour first, then place the others.",
        "{task} is what today turns on. Choose the quietest half hour {now} for it and keep that free.",
    ),
    open=(
        "Tie {task} to something you do {now} anyway: right after it, take the first step.",
        "Find the gap {now} that is as long as {task} needs, and write its name into it.",
        "See which other thing {now} lies close to {task}, and do both in one go.",
    ),
    at_night=(
        "Look at tomorrow's plan, choose the gap where {task} fits, and leave it there until then.",
        "{task} finds a better place tomorrow. Note the hour, put what it needs beside it, and close the day.",
        "One line for tomorrow: after breakfast, {task}. Then let the evening be an evening.",
    ),
    noted=(
        "With {note} in view, move one thing in your plan {now} so that the two do not get in each other's way.",
        "{note} shapes the hours {now}: choose the one thing that goes well with it and start there.",
    ),
    by_part_of_day={
        "morning": (
            (
                "advice",
                "Lay the day's fixed points side by side and give your longest gap to the thing that needs thought.",
            ),
        ),
        "afternoon": (
            (
                "advice",
                "Put the small things of the afternoon into one half hour, so that the rest stays in one piece.",
            ),
        ),
        "evening": (
            (
                "advice",
                "Read tomorrow's first appointment and lay out what it needs. The rest of the evening is free.",
            ),
        ),
        "night": (
            (
                "advice",
                "Match the alarm to tomorrow's first fixed point, not to the whole list, and take the sleep you get.",
            ),
            ("reminder", "Put what must leave the house with you tomorrow beside the door, then let the day go."),
            (
                "insight",
                "A short night makes every plan for tomorrow longer. Sleeping now is the first step of all of them.",
            ),
        ),
    },
    general=(
        (
            "insight",
            "Two things on your list probably need the same place or the same person. Do them in one round.",
        ),
        ("advice", "Take the next gap in your calendar and write one task into it, with its first step."),
        (
            "advice",
            "Join a walk with something you have to think over. Both need half an hour, and they go well together.",
        ),
        ("reminder", "Check what tomorrow asks of you and prepare one piece of it while you are at it today."),
        (
            "insight",
            "Energy and time rarely come together. Keep the demanding thing for the hour that has both.",
        ),
        (
            "advice",
            "Between two appointments, leave ten minutes free on purpose. They pay for themselves in the second one.",
        ),
        ("advice", "Collect the calls and messages of the day into one block, and guard the hours around it."),
        ("reminder", "Something on your list depends on somebody else. Ask for it now, and go on with the rest."),
        (
            "advice",
            "Choose the task that makes two others easier, and do that one first.",
        ),
        (
            "insight",
            "If the day is fuller than the calendar says, take one thing out of it before you begin the next.",
        ),
    ),
    weave=Weave(
        task=(
            "Put {note} and {task} side by side: what does the one change about the other? Take that step {now}.",
            "With {note} in mind, pick the part of {task} that still fits {now}, and do exactly that.",
            "Let {note} set the pace {now}: take {task} in a portion that suits it, and leave the rest for later.",
            "Plan around {note} first, then give {task} the longest gap that is left {now}.",
        ),
        at_night=(
            "Let {note} decide when {task} gets its turn tomorrow. Write down that hour, then close the day.",
            "{note}, and {task} is still open: note one line on how both fit into tomorrow, and rest.",
        ),
        notes=(
            "{note} and {other} touch each other: choose one small step {now} that helps with both.",
            "Read {note} next to {other}. If they pull in two directions, decide {now} which one leads.",
            "Settle {note} with {other} in view, and change one thing in your plan {now} accordingly.",
        ),
    ),
)
